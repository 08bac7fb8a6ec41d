package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/helm"
	"github.com/speedscale/speedscale/cluster/workload"
)

// NotReadyError says what is installed, and not ready in time.
type NotReadyError struct{ error }

// Unwrap returns what is said of it.
func (e *NotReadyError) Unwrap() error { return e.error }

// late says why a release is not ready, where that is what is wrong: Helm itself says only
// that the time is over.
func (o *Options) late(ctx context.Context, c kubernetes.Interface, r helm.Release, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return err
	}
	if why := unready(ctx, c, r); len(why) > 0 {
		err = fmt.Errorf("release %q in namespace %q is not ready after %s: %s", r.Name, r.Namespace, o.Timeout, strings.Join(why, "; "))
	}
	return &NotReadyError{err}
}

// unready names the workloads of a release that are not ready, with the reasons of their
// pods. What cannot be read is left out.
func unready(ctx context.Context, c kubernetes.Interface, r helm.Release) (why []string) {
	var refs []workload.Ref
	of := metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + r.Name}
	if list, err := c.AppsV1().Deployments(r.Namespace).List(ctx, of); err == nil {
		for _, d := range list.Items {
			refs = append(refs, workload.Ref{Kind: workload.Deployment, Namespace: d.Namespace, Name: d.Name})
		}
	}
	if list, err := c.AppsV1().StatefulSets(r.Namespace).List(ctx, of); err == nil {
		for _, s := range list.Items {
			refs = append(refs, workload.Ref{Kind: workload.StatefulSet, Namespace: s.Namespace, Name: s.Name})
		}
	}
	for _, ref := range refs {
		w, err := workload.Get(ctx, c, ref)
		if err != nil {
			continue
		}
		pods, err := workload.Pods(ctx, c, w)
		if err != nil {
			continue
		}
		s := workload.Rollout(w, pods)
		if s.Done {
			continue
		}
		if text := lastWarning(ctx, c, ref, pods); text != "" {
			s.Problems = append(s.Problems, text)
		}
		why = append(why, fmt.Sprintf("%s: %s", ref, strings.Join(append([]string{s.Text}, s.Problems...), "; ")))
	}
	return why
}

// lastWarning is the last event about a workload without pods, such as that a quota refuses
// them, or about a pod whose own status has no reason.
func lastWarning(ctx context.Context, c kubernetes.Interface, r workload.Ref, pods []corev1.Pod) string {
	about := []string{r.Name}
	for i := range pods {
		about[0] = "" // it has pods
		if workload.Unready(&pods[i]) == workload.Starting {
			about = append(about, pods[i].Name)
		}
	}
	list, err := c.CoreV1().Events(r.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=" + corev1.EventTypeWarning})
	if err != nil {
		return ""
	}
	var last corev1.Event
	for _, e := range list.Items {
		if e.Type == corev1.EventTypeWarning && slices.Contains(about, e.InvolvedObject.Name) && e.InvolvedObject.Name != "" && !workload.EventTime(e).Before(workload.EventTime(last)) {
			last = e
		}
	}
	return last.Message
}

package workload

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// What a Capture's State can be.
const (
	Captured = "captured" // all its pods have a sidecar
	Partly   = "partly"   // some have
	Asked    = "asked"    // none has, though it asks for one
	None     = ""         // it does not ask for one
)

// Capture is what is captured of a workload.
type Capture struct {
	Ref
	State string
	// Pods are those that run, Sidecars those of them that have one, and Reasons why
	// others have none.
	Pods, Sidecars int
	Reasons        []string
	// Replay is namespace/name of the one that it takes part in.
	Replay string
	// Asked are its annotations about the sidecar, and ManagedBy is the operator that it is
	// left to, "" for any.
	Asked     map[string]string
	ManagedBy string
}

// Captures returns what is captured of the workloads of a namespace, "" for all.
func Captures(ctx context.Context, c kubernetes.Interface, namespace string) ([]Capture, error) {
	all, err := List(ctx, c, namespace)
	if err != nil {
		return nil, err
	}
	pods, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("pods: %w", err)
	}
	found := make([]Capture, len(all))
	for i, w := range all {
		found[i] = CaptureOf(w, own(w, pods.Items))
	}
	return found, nil
}

// own are a workload's pods, of all in its namespace.
func own(w *Workload, pods []corev1.Pod) (found []corev1.Pod) {
	if w.Selector == nil {
		return nil
	}
	selector, err := metav1.LabelSelectorAsSelector(w.Selector)
	if err != nil {
		return nil // the API server does not store such a workload
	}
	for _, p := range pods {
		if p.Namespace == w.Namespace && p.DeletionTimestamp == nil && selector.Matches(labels.Set(p.Labels)) {
			found = append(found, p)
		}
	}
	return found
}

// CaptureOf says what is captured of a workload with the pods that run.
func CaptureOf(w *Workload, pods []corev1.Pod) Capture {
	pods = slices.DeleteFunc(slices.Clone(pods), func(p corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
	c := Capture{Ref: w.Ref, Pods: len(pods), Asked: map[string]string{}, ManagedBy: w.Annotations[annotation.ManagedBy]}
	for key, value := range w.Annotations {
		if strings.HasPrefix(key, annotation.Prefix) {
			c.Asked[key] = value
		}
	}
	c.Sidecars, c.Reasons = Sidecars(w, pods)
	if text := w.Template.Annotations[annotation.Replay]; text != "" {
		if r, err := stamp.ParseReplay(text); err == nil {
			c.Replay = r.Name
		}
	}
	switch asks := w.Annotations[annotation.Inject] == "true"; {
	case c.Sidecars > 0 && c.Sidecars == c.Pods:
		c.State = Captured
	case c.Sidecars > 0:
		c.State = Partly
	case asks:
		c.State = Asked
	}
	return c
}

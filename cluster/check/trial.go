package check

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/install"
)

// slowAnswer is from when on the operator's answer holds deployments up.
const slowAnswer = 3 * time.Second

// try has the API server ask the operator about a Deployment that wants a sidecar, as a
// dry run: webhooks are called, and nothing is stored
// (https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run).
func try(ctx context.Context, c kubernetes.Interface, f *Facts) Trial {
	at := slices.IndexFunc(f.Webhooks, func(w Webhook) bool { return w.Configuration == install.Operator })
	if at < 0 {
		return Trial{}
	}
	namespace, err := chosen(ctx, c, f.Namespace, f.Webhooks[at].Selector)
	if err != nil || namespace == "" {
		return Trial{Err: err}
	}
	app := map[string]string{"app": "speedctl-check"}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "speedctl-check-", Namespace: namespace, Annotations: map[string]string{annotation.Inject: "true"},
	}}
	d.Spec.Replicas, d.Spec.Selector = new(int32), &metav1.LabelSelector{MatchLabels: app}
	d.Spec.Template.Labels = app
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Image: "none"}}
	began := time.Now()
	made, err := c.AppsV1().Deployments(namespace).Create(ctx, d, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	trial := Trial{Namespace: namespace, Took: time.Since(began), Err: err}
	if err == nil {
		trial.Stamped = made.Spec.Template.Annotations[annotation.Stamp] != ""
	}
	return trial
}

// chosen is a namespace that a webhook is asked about: the operator's own, or the first.
func chosen(ctx context.Context, c kubernetes.Interface, own string, s *metav1.LabelSelector) (string, error) {
	selector := labels.Everything()
	if s != nil {
		var err error
		if selector, err = metav1.LabelSelectorAsSelector(s); err != nil {
			return "", err
		}
	}
	list, err := c.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	first := ""
	for _, n := range list.Items {
		if n.DeletionTimestamp != nil || !selector.Matches(labels.Set(n.Labels)) {
			continue
		}
		if n.Name == own {
			return own, nil
		}
		if first == "" {
			first = n.Name
		}
	}
	return first, nil
}

func webhookAnswers(f *Facts) Result {
	t := f.Trial
	hint := fmt.Sprintf("the API server has to reach port 9443 of the operator's pod; its log and kubectl -n %s logs deployment/%s say more", f.Namespace, install.Operator)
	switch {
	case f.WebhooksError != nil || !f.has("mutatingwebhookconfiguration", install.Operator):
		return skip("there are no webhooks to try")
	case t.Namespace == "" && t.Err != nil:
		return skip("%v", t.Err)
	case t.Namespace == "":
		return skip("no namespace that the webhooks select is there")
	case apierrors.IsForbidden(t.Err):
		return skip("a dry run in namespace %q is not allowed: %v", t.Namespace, t.Err)
	case t.Err != nil:
		return fail(hint, "the API server refused a dry run in namespace %q: %v", t.Namespace, t.Err)
	case !t.Stamped:
		return fail(hint, "a dry run in namespace %q got none after %s: the operator was not asked, or did not answer", t.Namespace, t.Took.Round(time.Millisecond))
	case t.Took > slowAnswer:
		return warn(hint, "a dry run in namespace %q took %s, for which every deployment waits", t.Namespace, t.Took.Round(time.Millisecond))
	}
	return ok("a dry run in namespace %q took %s", t.Namespace, t.Took.Round(time.Millisecond))
}

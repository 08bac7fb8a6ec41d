package replay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/cluster/workload"
)

// ensure returns an object of the replay, which it makes where it is not there, after
// those that it needs.
func ensure[T client.Object](ctx context.Context, p *pass, want T, needs ...client.Object) (T, error) {
	there := want.DeepCopyObject().(T)
	err := p.Client.Get(ctx, client.ObjectKeyFromObject(want), there)
	switch {
	case err == nil && !metav1.IsControlledBy(there, p.replay):
		return there, failf("%s is there already and belongs to somebody else: delete it", kindName(want))
	case !apierrors.IsNotFound(err):
		return there, err
	}
	for _, o := range append(needs, want) {
		if err := p.put(ctx, o); err != nil {
			return want, err
		}
	}
	return want, nil
}

// put makes an object, unless it is there.
func (p *pass) put(ctx context.Context, o client.Object) error {
	err := p.Client.Create(ctx, o)
	switch {
	case apierrors.IsAlreadyExists(err):
		return nil
	case apierrors.IsForbidden(err) || apierrors.IsInvalid(err): // a quota, a policy, a right that was taken
		return failf("%s: %v", kindName(o), err)
	}
	return err
}

// kindName names an object for a person.
func kindName(o client.Object) string {
	return fmt.Sprintf("%T %q", o, o.GetName())
}

// discard deletes an object of the replay, and does not mind that it is gone.
func (p *pass) discard(ctx context.Context, o client.Object, opts ...client.DeleteOption) error {
	err := p.Client.Delete(ctx, o, append(opts, client.PropagationPolicy(metav1.DeletePropagationBackground))...)
	return client.IgnoreNotFound(err)
}

// discardOwn is discard of an object that may be read, so that one of somebody else
// with the same name stays.
func (p *pass) discardOwn(ctx context.Context, o client.Object) error {
	if err := p.Client.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil || !metav1.IsControlledBy(o, p.replay) {
		return client.IgnoreNotFound(err)
	}
	return p.discard(ctx, o)
}

// startLimit is how long a pod of the replay's own may start before its events are asked
// for what keeps it, and how long a Secret may be missing that is made with the replay.
const startLimit = 30 * time.Second

// unready says why pods of the replay's own are not ready: of the first of them.
func (p *pass) unready(ctx context.Context, selector map[string]string) (string, error) {
	pods := &corev1.PodList{}
	if err := p.Client.List(ctx, pods, client.InNamespace(p.replay.Namespace), client.MatchingLabels(selector)); err != nil {
		return "", err
	}
	for i := range pods.Items {
		if why, err := p.podUnready(ctx, &pods.Items[i]); why != "" || err != nil {
			return why, err
		}
	}
	return "its pod is not there yet", nil
}

// podUnready says why a pod of the replay's own is not ready, "" where it is.
func (p *pass) podUnready(ctx context.Context, pod *corev1.Pod) (string, error) {
	why := workload.Unready(pod)
	if why == "" {
		return "", nil
	}
	p.waits = append(p.waits, pod.Name)
	if why == workload.Starting && p.Now().Sub(pod.CreationTimestamp.Time) >= startLimit {
		trouble, err := p.trouble(ctx, pod)
		if err != nil {
			return "", err
		}
		if trouble != "" {
			why += ": " + trouble
		}
	}
	return fmt.Sprintf("pod %q: %s", pod.Name, why), nil
}

// trouble is a pod's newest event, where that is a warning. A Secret of the spec that the
// kubelet still has not found ends the replay, unless it only mocks by now.
func (p *pass) trouble(ctx context.Context, pod *corev1.Pod) (string, error) {
	events := &corev1.EventList{}
	if err := p.Client.List(ctx, events, client.InNamespace(pod.Namespace), client.MatchingFields{"involvedObject.uid": string(pod.UID)}); err != nil {
		return "", fmt.Errorf("events: %w", err)
	}
	if len(events.Items) == 0 {
		return "", nil
	}
	last := slices.MaxFunc(events.Items, func(a, b corev1.Event) int { return workload.EventTime(a).Compare(workload.EventTime(b)) })
	if last.Type != corev1.EventTypeWarning {
		return "", nil
	}
	still := workload.EventTime(last).Sub(pod.CreationTimestamp.Time) >= startLimit
	for i, s := range p.replay.Spec.SecretRefs {
		if still && !p.mocking() && strings.Contains(last.Message, fmt.Sprintf("secret %q not found", s.Name)) {
			return "", failf("spec.secretRefs[%d].name: there is no Secret %q in namespace %q: make it, or correct the name", i, s.Name, pod.Namespace)
		}
	}
	return last.Reason + ": " + last.Message, nil
}

package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/cluster/annotation"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/stamp"
	"github.com/speedscale/speedscale/cluster/workload"
	"github.com/speedscale/speedscale/operator/resource"
)

// mostNamed pods are named in a message; others are like them.
const mostNamed = 3

// workloads gives the workloads their routing, and waits until each pod has it and is
// ready. Once the generator runs, it only looks for pods that have not.
func (p *pass) workloads(ctx context.Context) (string, error) {
	targets, err := p.targets(ctx)
	if err != nil {
		return "", p.whileMocking(err)
	}
	if p.job != nil {
		return "", p.onlyRouted(ctx, targets)
	}
	p.collect(ctx, targets)
	// Services are made early: the nodes need a moment to know them.
	if p.entering(v1.ReasonWorkload) && Sends(&p.replay.Spec) {
		if _, err := p.destinations(ctx, targets); err != nil {
			return "", err
		}
	}
	var waits []string
	for _, t := range targets {
		if t.workload == nil {
			continue
		}
		if t.routed {
			if err := p.route(ctx, t); err != nil {
				return "", p.whileMocking(err)
			}
		}
		why, err := p.ready(ctx, t)
		if err != nil {
			return "", p.whileMocking(err)
		}
		if why != "" {
			waits = append(waits, t.workload.String()+": "+why)
		}
	}
	if p.mocking() {
		p.mocksAre(cmp.Or(p.unmocked, strings.Join(waits, "; ")))
		return "mocks are answered until the replay is deleted", nil
	}
	if len(waits) == 0 && len(p.mocked()) > 0 {
		p.mocksAre("")
	}
	return strings.Join(waits, "; "), nil
}

// whileMocking keeps an error from ending a replay that mocks until it is deleted.
func (p *pass) whileMocking(err error) error {
	if f, ok := errors.AsType[*failed](err); ok && p.mocking() {
		p.mocksAre(f.text)
		return nil
	}
	return err
}

// mocksAre states whether all pods are mocked; why says why not.
func (p *pass) mocksAre(why string) {
	if why == "" {
		p.condition(v1.ConditionMocksReady, metav1.ConditionTrue, "Routed", fmt.Sprintf("%d dependencies are mocked for every pod", len(p.mocked())))
		return
	}
	p.condition(v1.ConditionMocksReady, metav1.ConditionFalse, "NotRouted", why)
}

// route puts the annotation on the pod template, unless it is there. It is applied as
// a field of our own: whatever else of the object changes meanwhile stays.
func (p *pass) route(ctx context.Context, t *target) error {
	if why := p.untouchable(t.object); why != "" {
		return failf("%s %s", t.workload.Ref, why)
	}
	value := p.routing(t).String()
	if t.workload.Template.Annotations[annotation.Replay] == value {
		return nil
	}
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": workload.APIVersion(t.workload.Kind), "kind": t.workload.Kind,
		// With the UID, one that is gone by then is not made anew.
		"metadata": map[string]any{"namespace": t.workload.Namespace, "name": t.workload.Name, "uid": string(t.object.GetUID())},
		"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{
			"annotations": map[string]any{annotation.Replay: value},
		}}},
	}}
	if err := p.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner(fieldManager), client.ForceOwnership); err != nil {
		return fmt.Errorf("%s: %w", t.workload.Ref, err)
	}
	t.workload.Counts.Seen = false
	return nil
}

// untouchable says why a workload must not be changed, "" where it may be.
func (p *pass) untouchable(o client.Object) string {
	notes := o.GetAnnotations()
	if by := notes[annotation.ManagedBy]; by != "" && by != p.Instance {
		return fmt.Sprintf("is managed by another operator, %q", by)
	}
	if notes[annotation.Ignore] == "true" {
		return "has the annotation " + annotation.Ignore
	}
	return ""
}

// routing is what the pods of a target are told.
func (p *pass) routing(t *target) stamp.Replay {
	s := stamp.Replay{
		ID: p.id(), Name: p.name(), Target: t.label, Kind: t.workload.Kind, Workload: t.workload.Name, HostAliases: t.aliases,
	}
	for _, m := range t.Mocks {
		s.Mocks = append(s.Mocks, config.Mock{Key: m.Key, ALPN: m.ALPN})
	}
	if len(s.Mocks) > 0 {
		objects := p.objects()
		s.Responder = objects.Address(objects.NameOf(resource.Responder), resource.ResponderPort)
	}
	return s
}

// ready says what keeps a target's pods from being sent requests, "" for nothing.
func (p *pass) ready(ctx context.Context, t *target) (string, error) {
	pods, err := p.podsOf(ctx, t.workload)
	if err != nil {
		return "", err
	}
	if t.workload.Scale == 0 && t.workload.Kind != workload.DaemonSet { // which may not have been counted yet
		return "", failf("%s is scaled to 0", t.workload.Ref)
	}
	ready, old := 0, 0
	var problems []string
	for _, pod := range pods {
		why := workload.Unready(pod)
		switch {
		case t.routed && !p.hasRouting(pod, t):
			if err := p.refused(pod); err != nil {
				return "", err
			}
			old++
		case why == "":
			ready++
			continue
		default:
			problems = append(problems, fmt.Sprintf("pod %q: %s", pod.Name, why))
		}
		p.waits = append(p.waits, pod.Name)
	}
	switch {
	case len(problems) > 0:
		return strings.Join(problems[:min(len(problems), mostNamed)], "; "), nil
	case old > 0:
		return because(cmp.Or(t.workload.Held, t.workload.Failing), "%d of %d pods have no routing yet", old, len(pods)), nil
	case !t.workload.Counts.Seen:
		return "its controller has not seen the change yet", nil
	case ready == 0:
		return cmp.Or(t.workload.Failing, "it has no pod yet"), nil
	case ready < int(t.workload.Scale): // one ends, and the next is not made before that
		return because(t.workload.Failing, "%d of %d pods are there", ready, t.workload.Scale), nil
	}
	return "", nil
}

// because is a text with the reason behind it, where there is one.
func because(why, format string, args ...any) string {
	text := fmt.Sprintf(format, args...)
	if why != "" {
		text += ": " + why
	}
	return text
}

// hasRouting says that a pod has what the replay's annotation asks for: the webhook
// gives it the labels with the routing only.
func (p *pass) hasRouting(pod *corev1.Pod, t *target) bool {
	return pod.Labels[annotation.ReplayID] == p.id() && pod.Labels[annotation.ReplayTarget] == t.label
}

// refused ends the replay where a pod was made with the annotation, and without what it
// asks for.
func (p *pass) refused(pod *corev1.Pod) error {
	if s, err := stamp.ParseReplay(pod.Annotations[annotation.Replay]); err != nil || s.ID != p.id() {
		return nil // made before
	}
	return failf("pod %q started without the replay's routing: %s", pod.Name,
		cmp.Or(pod.Annotations[annotation.Refused], "the operator's webhook was not asked"))
}

// onlyRouted ends the replay when a pod runs without its routing.
func (p *pass) onlyRouted(ctx context.Context, targets []*target) error {
	for _, t := range targets {
		if !t.routed {
			continue
		}
		pods, err := p.podsOf(ctx, t.workload)
		if err != nil {
			return err
		}
		for _, pod := range pods {
			if p.hasRouting(pod, t) {
				continue
			}
			if err := p.refused(pod); err != nil {
				return err
			}
			if pod.Status.Phase == corev1.PodRunning {
				return failf("pod %q of %s runs without the replay's routing: %s", pod.Name, t.workload.Ref,
					cmp.Or(pod.Annotations[annotation.Refused], "its template was changed during the replay"))
			}
		}
	}
	return nil
}

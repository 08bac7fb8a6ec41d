package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/speedscale/speedscale/cluster/annotation"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/stamp"
	"github.com/speedscale/speedscale/cluster/workload"
	"github.com/speedscale/speedscale/operator/resource"
)

const (
	// restoreLimit is how long a workload that cannot be restored keeps back the verdict;
	// it is tried on after that.
	restoreLimit = time.Minute
	// rollLimit is how long the responder stays for pods that still have its routing.
	rollLimit = 2 * time.Minute
)

// finish gives the workloads back and states that the replay has ended. The responder
// stays for the moment: pods that are being replaced still send to it.
func (p *pass) finish(ctx context.Context) (time.Duration, error) {
	outcome := p.replay.Status.Condition(v1.ConditionPassed)
	if p.early() {
		p.say(v1.ReasonCleaningUp, "waits for the operator's webhook, by which the workload's new pods get their sidecar")
		return poll, nil
	}
	if err := p.restore(ctx); err != nil {
		if p.Now().Before(outcome.LastTransitionTime.Add(restoreLimit)) {
			p.say(v1.ReasonCleaningUp, err.Error())
			return 0, err
		}
		p.Events.Eventf(p.replay, nil, corev1.EventTypeWarning, "NotRestored", "Replay", "%v", err)
	}
	p.replay.Status.FinishedTime = new(metav1.NewTime(p.Now()))
	if p.replay.Spec.Cleanup != v1.CleanupNone && len(p.mocked()) > 0 {
		p.condition(v1.ConditionMocksReady, metav1.ConditionFalse, "Ended", "the replay has ended")
	}
	p.condition(v1.ConditionReady, metav1.ConditionTrue, outcome.Reason, outcome.Message)
	return poll, nil
}

// afterwards clears up after a replay that has ended, and takes it away when its time is
// over.
func (p *pass) afterwards(ctx context.Context) (time.Duration, error) {
	if p.replay.Spec.Cleanup != v1.CleanupNone {
		if p.replay.Status.Active {
			return p.cleanUp(ctx)
		}
		// It holds nothing: whoever deletes its namespace does not wait for the operator.
		if err := p.letGo(ctx); err != nil {
			return 0, err
		}
	}
	ttl := p.replay.Spec.TTLAfterReady
	if ttl == nil {
		return 0, nil
	}
	left := p.replay.Status.FinishedTime.Add(ttl.Duration).Sub(p.Now())
	if left > 0 {
		return left, nil
	}
	return 0, client.IgnoreNotFound(p.Client.Delete(ctx, p.replay, client.Preconditions{UID: new(p.replay.UID)}))
}

// cleanUp takes away what is left of a replay that has ended.
func (p *pass) cleanUp(ctx context.Context) (time.Duration, error) {
	if p.early() {
		return poll, nil
	}
	if err := p.restore(ctx); err != nil {
		return 0, err
	}
	left, err := p.routedPods(ctx)
	if err != nil {
		return 0, err
	}
	if left != "" && p.Now().Before(p.replay.Status.FinishedTime.Add(rollLimit)) {
		return poll, nil
	}
	p.stillRouted(left)
	if err := p.discardAll(ctx); err != nil {
		return 0, err
	}
	p.replay.Status.Active = false
	return poll, nil
}

// letGo takes the finalizer away, in a pass that has changed nothing of the status.
func (p *pass) letGo(ctx context.Context) error {
	if !controllerutil.ContainsFinalizer(p.replay, v1.Finalizer) {
		return nil
	}
	before := p.replay.DeepCopy()
	controllerutil.RemoveFinalizer(p.replay, v1.Finalizer)
	err := p.Client.Patch(ctx, p.replay, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	return client.IgnoreNotFound(err)
}

// remove lets a replay go that is deleted: what still runs is canceled first. Its
// finalizer needs no cloud, and does not mind workloads that are gone.
func (p *pass) remove(ctx context.Context) (time.Duration, error) {
	if !controllerutil.ContainsFinalizer(p.replay, v1.Finalizer) {
		return 0, nil
	}
	status := &p.replay.Status
	since := p.Now().Sub(p.replay.DeletionTimestamp.Time)
	if err := p.stopGenerator(ctx); err != nil {
		return 0, err
	}
	if p.early() {
		return poll, nil
	}
	if err := p.restore(ctx); err != nil {
		return 0, err
	}
	if outcome := status.Condition(v1.ConditionPassed); status.StartedTime != nil && (outcome == nil || outcome.Status == unknown) {
		reason, text := v1.ReasonCanceled, "the TrafficReplay was deleted"
		if outcome != nil {
			reason, text = outcome.Reason, outcome.Message
		}
		if p.reports(reason) && since < settle && p.putsParts() {
			return settle - since, nil
		}
		if p.end(ctx, reason, text, since >= removeLimit) {
			return poll, nil
		}
		if err := p.save(ctx); err != nil {
			return 0, err
		}
	}
	left, err := p.routedPods(ctx)
	if err != nil {
		return 0, err
	}
	if left != "" && since < rollLimit {
		return poll, nil
	}
	p.stillRouted(left)
	if err := p.discardAll(ctx); err != nil {
		return 0, err
	}
	p.before = status.DeepCopy() // it is gone with that
	return 0, p.letGo(ctx)
}

// reports says that the report of a replay that is deleted is of all that it did: of one
// whose requests are all sent, or that mocked until now.
func (p *pass) reports(reason string) bool {
	return reason == v1.ReasonReporting || !Sends(&p.replay.Spec) && p.replay.Spec.NeedsReport
}

// early says that the operator has just started, and may have workloads to give back.
func (p *pass) early() bool {
	return p.replay.Status.StartedTime != nil && p.Now().Before(p.From)
}

// restore takes the annotation from the workloads or, where the policy says so, deletes
// them. It goes on after an error, so that one workload does not keep back the others.
func (p *pass) restore(ctx context.Context) error {
	policy := p.replay.Spec.Cleanup
	if policy == v1.CleanupNone && p.replay.DeletionTimestamp.IsZero() {
		return nil
	}
	var errs []error
	for i, w := range p.replay.Spec.Workloads {
		if w.Ref == nil || p.replay.Status.StartedTime == nil {
			continue
		}
		o, err := p.read(ctx, *w.Ref)
		switch {
		case err == nil && o == nil:
			continue // it is gone
		case err == nil && policy == v1.CleanupAll && p.replayed(i, o) && p.untouchable(o) == "":
			err = p.discard(ctx, o, client.Preconditions{UID: new(o.GetUID())})
		case err == nil:
			err = p.unroute(ctx, o)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", ref(p.replay, *w.Ref), err))
		}
	}
	return errors.Join(errs...)
}

// replayed says that an object is the workload that the replay has begun with, and not
// one that was made since.
func (p *pass) replayed(i int, o client.Object) bool {
	status := &p.replay.Status
	return status.Active && status.Name != "" && i < len(status.Targets) && status.Targets[i].UID == o.GetUID()
}

// unroute takes our annotation away, whoever owns the field by now, and leaves one of
// another replay.
func (p *pass) unroute(ctx context.Context, o client.Object) error {
	w, ok := workload.Of(o)
	if !ok {
		return nil
	}
	text, ok := w.Template.Annotations[annotation.Replay]
	if s, err := stamp.ParseReplay(text); !ok || err == nil && s.ID != p.id() {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": o.GetResourceVersion()},
		"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{
			"annotations": map[string]any{annotation.Replay: nil},
		}}},
	})
	if err != nil {
		return err
	}
	return client.IgnoreNotFound(p.Client.Patch(ctx, o, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(fieldManager)))
}

// routedPods names the pods that still send to the responder, "" for none.
func (p *pass) routedPods(ctx context.Context) (string, error) {
	if len(p.mocked()) == 0 {
		return "", nil
	}
	pods := &corev1.PodList{}
	err := p.Client.List(ctx, pods, client.InNamespace(p.replay.Namespace),
		client.MatchingLabels{annotation.ReplayID: p.id()}, client.HasLabels{annotation.ReplayTarget})
	var names []string
	for _, pod := range pods.Items {
		names = append(names, pod.Name)
	}
	return strings.Join(names, ", "), err
}

// stillRouted tells of pods that nobody replaces, such as those of a workload that is
// paused, and whose mocks are gone now.
func (p *pass) stillRouted(pods string) {
	if pods != "" {
		p.Events.Eventf(p.replay, nil, corev1.EventTypeWarning, "StillRouted", "Replay",
			"pods still have the routing of the replay, which has ended, and are not replaced: delete those with the labels %s=%s,%s: %s",
			annotation.ReplayID, p.id(), annotation.ReplayTarget, pods)
	}
}

// discardAll deletes the objects of the replay.
func (p *pass) discardAll(ctx context.Context) error {
	if p.replay.Status.Name == "" {
		return nil // there are none
	}
	objects := p.objects()
	named := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: p.replay.Namespace, Name: name}
	}
	list := []client.Object{
		&corev1.Service{ObjectMeta: named(objects.NameOf(resource.Responder))},
		&rbacv1.RoleBinding{ObjectMeta: named(objects.NameOf(resource.Collector))},
		&corev1.ServiceAccount{ObjectMeta: named(objects.NameOf(resource.Collector))},
		&corev1.Secret{ObjectMeta: named(objects.SecretName())},
	}
	for i := range p.replay.Status.Targets {
		list = append(list, &corev1.Service{ObjectMeta: named(objects.TargetName(fmt.Sprint(i)))})
	}
	errs := []error{
		p.stopGenerator(ctx),
		p.discardOwn(ctx, &appsv1.Deployment{ObjectMeta: named(objects.NameOf(resource.Responder))}),
		p.discardOwn(ctx, &appsv1.Deployment{ObjectMeta: named(objects.NameOf(resource.Collector))}),
	}
	for _, o := range list {
		errs = append(errs, p.discard(ctx, o))
	}
	return errors.Join(errs...)
}

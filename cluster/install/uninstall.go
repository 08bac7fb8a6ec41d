package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/annotation"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/replay"
	"github.com/speedscale/speedscale/cluster/stamp"
	"github.com/speedscale/speedscale/cluster/workload"
)

// Use is what still needs the operator.
type Use struct {
	// Injected are workloads of others that ask for a sidecar or have one.
	Injected []*workload.Workload
	// Routed are workloads whose template names a replay that is not there any more, as
	// after a rollback. Clear takes it off.
	Routed []*workload.Workload
	// Replays are those that are there, of which Active have not ended, or keep what they
	// made until they are deleted.
	Replays []v1.TrafficReplay
	Active  int
}

// InUse looks for what still needs the operator.
func InUse(ctx context.Context, c kubernetes.Interface, replays replay.Client) (u Use, err error) {
	injected, err := workload.Injected(ctx, c, metav1.NamespaceAll)
	if err != nil {
		return u, err
	}
	u.Injected = slices.DeleteFunc(injected, demo)
	if u.Replays, err = replays.List(ctx, metav1.NamespaceAll); apierrors.IsNotFound(err) {
		err = nil // their definition is gone
	}
	for i := range u.Replays {
		if r := &u.Replays[i]; !replay.Over(r) && !cleansUp(r) {
			u.Active++
		}
	}
	if err != nil {
		return u, err
	}
	routed, err := routed(ctx, c)
	u.Routed = slices.DeleteFunc(routed, func(w *workload.Workload) bool {
		return demo(w) || slices.ContainsFunc(u.Replays, func(r v1.TrafficReplay) bool { return takesPart(w, &r) }) ||
			slices.ContainsFunc(u.Injected, func(i *workload.Workload) bool { return i.Ref == w.Ref })
	})
	return u, err
}

// demo says that a workload is of the demo, which goes with the operator.
func demo(w *workload.Workload) bool {
	return w.Template.Labels["app.kubernetes.io/managed-by"] == Operator
}

// routed are the workloads whose template names a replay.
func routed(ctx context.Context, c kubernetes.Interface) ([]*workload.Workload, error) {
	all, err := workload.List(ctx, c, metav1.NamespaceAll)
	return slices.DeleteFunc(all, func(w *workload.Workload) bool { return w.Template.Annotations[annotation.Replay] == "" }), err
}

// takesPart says that the template of a workload names a replay.
func takesPart(w *workload.Workload, r *v1.TrafficReplay) bool {
	s, err := stamp.ParseReplay(w.Template.Annotations[annotation.Replay])
	return err == nil && s.Name == r.Namespace+"/"+r.Name
}

// cleansUp says that a replay has ended, and leaves the cluster as it was by itself.
func cleansUp(r *v1.TrafficReplay) bool {
	return replay.Ended(r) && r.Spec.Cleanup != v1.CleanupNone
}

// String names what is in use, "" for nothing.
func (u Use) String() string {
	const most = 10
	var parts []string
	workloads := slices.Concat(u.Injected, u.Routed)
	for i, w := range workloads {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d others", len(workloads)-i))
			break
		}
		parts = append(parts, w.Ref.String())
	}
	if u.Active > 0 {
		parts = append(parts, fmt.Sprintf("%d replays", u.Active))
	}
	return strings.Join(parts, ", ")
}

// replayLimit is how long the operator may take to end a replay: longer than it waits for
// pods that are routed to the mocks.
const replayLimit = 150 * time.Second

// Release has replays end and takes the sidecars out of workloads, one after the
// other, while the operator is there to do it. What is gone by then needs nothing.
func (u Use) Release(ctx context.Context, c kubernetes.Interface, replays replay.Client, limit time.Duration, say func(string)) error {
	operators, err := Operators(ctx, c)
	if err != nil {
		return err
	}
	for i := range u.Replays {
		if err := end(ctx, replays, &u.Replays[i], len(operators) > 0, say); err != nil {
			return err
		}
	}
	for _, w := range u.Injected {
		say("taking the sidecar out of " + w.Ref.String())
		err := workload.Annotate(ctx, c, w.Ref, workload.Removal(w))
		if err == nil {
			_, err = workload.WaitRemoved(ctx, c, w.Ref, limit, nil)
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// end has a replay end and clean up. What no operator does, or not in time, Clear does.
func end(ctx context.Context, replays replay.Client, r *v1.TrafficReplay, operated bool, say func(string)) error {
	if replay.Over(r) {
		return nil
	}
	name, wait := r.Namespace+"/"+r.Name, replay.WaitGone
	if cleansUp(r) {
		say("waiting until the replay " + name + " has cleaned up")
		wait = replay.WaitOver
	} else {
		say("cancelling the replay " + name)
		if err := replays.Delete(ctx, r.Namespace, r.Name); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	if !operated {
		return nil
	}
	if err := wait(ctx, replays, r.Namespace, r.Name, replayLimit); err != nil && ctx.Err() != nil {
		return err
	}
	return nil
}

// Clear removes what an operator leaves that could not clean up, as when its namespace
// was deleted: objects of the whole cluster, and its hold on TrafficReplays and their
// workloads. While an operator is there, wherever that is, it needs them, and nothing is
// removed.
func Clear(ctx context.Context, c kubernetes.Interface, replays replay.Client) error {
	operators, err := Operators(ctx, c)
	if err != nil || len(operators) > 0 {
		return err
	}
	list, err := replays.List(ctx, metav1.NamespaceAll)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	var errs []error
	for i := range list {
		errs = append(errs, replays.Abandon(ctx, c, &list[i]))
	}
	errs = append(errs, unroute(ctx, c))
	errs = append(errs, clearCluster(ctx, c))
	return errors.Join(errs...)
}

// unroute takes replays that are not there any more off workloads: without an operator
// none runs.
func unroute(ctx context.Context, c kubernetes.Interface) error {
	left, err := routed(ctx, c)
	errs := []error{err}
	for _, w := range left {
		if err := workload.AnnotatePods(ctx, c, w.Ref, map[string]*string{annotation.Replay: nil}); !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// clearCluster deletes objects that belong to no namespace, or to those of others.
func clearCluster(ctx context.Context, c kubernetes.Interface) error {
	ours := metav1.ListOptions{LabelSelector: byOperator}
	demo := metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=speedscale-demo"}
	var none metav1.DeleteOptions
	registered, rbac := c.AdmissionregistrationV1(), c.RbacV1()
	var errs []error
	sweep := func(list runtime.Object, err error, remove func(metav1.Object) error) {
		if err == nil {
			err = apimeta.EachListItem(list, func(o runtime.Object) error {
				m, err := apimeta.Accessor(o)
				if err == nil {
					err = remove(m)
				}
				if apierrors.IsNotFound(err) {
					return nil
				}
				return err
			})
		}
		errs = append(errs, err)
	}
	mutating, err := registered.MutatingWebhookConfigurations().List(ctx, ours)
	sweep(mutating, err, func(m metav1.Object) error {
		return registered.MutatingWebhookConfigurations().Delete(ctx, m.GetName(), none)
	})
	validating, err := registered.ValidatingWebhookConfigurations().List(ctx, ours)
	sweep(validating, err, func(m metav1.Object) error {
		return registered.ValidatingWebhookConfigurations().Delete(ctx, m.GetName(), none)
	})
	clusterBindings, err := rbac.ClusterRoleBindings().List(ctx, ours)
	sweep(clusterBindings, err, func(m metav1.Object) error { return rbac.ClusterRoleBindings().Delete(ctx, m.GetName(), none) })
	clusterRoles, err := rbac.ClusterRoles().List(ctx, ours)
	sweep(clusterRoles, err, func(m metav1.Object) error { return rbac.ClusterRoles().Delete(ctx, m.GetName(), none) })
	bindings, err := rbac.RoleBindings(metav1.NamespaceAll).List(ctx, ours)
	sweep(bindings, err, func(m metav1.Object) error {
		return rbac.RoleBindings(m.GetNamespace()).Delete(ctx, m.GetName(), none)
	})
	roles, err := rbac.Roles(metav1.NamespaceAll).List(ctx, ours)
	sweep(roles, err, func(m metav1.Object) error { return rbac.Roles(m.GetNamespace()).Delete(ctx, m.GetName(), none) })
	namespaces, err := c.CoreV1().Namespaces().List(ctx, demo)
	sweep(namespaces, err, func(m metav1.Object) error { return c.CoreV1().Namespaces().Delete(ctx, m.GetName(), none) })
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("what is left of the operator: %w", err)
	}
	return nil
}

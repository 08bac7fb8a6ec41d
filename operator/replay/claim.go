package replay

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/speedscale/speedscale/cluster/api/v1"
)

// claim waits for other replays of the same workloads, and takes them then. The one
// that is older goes first.
func (p *pass) claim(ctx context.Context) (string, error) {
	if p.replay.Status.StartedTime != nil {
		return "", nil
	}
	p.claiming.Lock()
	defer p.claiming.Unlock()
	others := &v1.TrafficReplayList{}
	if err := p.Client.List(ctx, others, client.InNamespace(p.replay.Namespace)); err != nil {
		return "", err
	}
	for i := range others.Items {
		other := &others.Items[i]
		shared := sharedWorkload(p.replay, other)
		if shared == nil || other.UID == p.replay.UID || !goesFirst(other, p.replay) {
			continue
		}
		text := fmt.Sprintf("waits for TrafficReplay %q, which has %s %q", other.Name, shared.Kind, shared.Name)
		switch {
		case other.Status.FinishedTime == nil:
		case other.Spec.Cleanup == v1.CleanupNone:
			text += "; it has ended and keeps it until it is deleted"
		default:
			text += "; it has ended, and pods with its routing are still being replaced"
		}
		return text, nil
	}
	p.replay.Status.StartedTime = new(metav1.NewTime(p.Now()))
	p.say(v1.ReasonPreparing, "the cloud is asked for snapshot and test config")
	return "", p.save(ctx)
}

// goesFirst says that a replay, which shares a workload, has it before the other one.
func goesFirst(a, b *v1.TrafficReplay) bool {
	switch {
	case a.Status.StartedTime != nil:
		return a.Status.Active
	case a.Status.FinishedTime != nil, !a.DeletionTimestamp.IsZero():
		return false
	case !a.CreationTimestamp.Equal(&b.CreationTimestamp):
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Name < b.Name
}

// sharedWorkload returns a workload of both replays, nil where there is none.
func sharedWorkload(a, b *v1.TrafficReplay) *v1.WorkloadRef {
	for _, w := range a.Spec.Workloads {
		for _, o := range b.Spec.Workloads {
			if w.Ref != nil && o.Ref != nil && w.Ref.Kind == o.Ref.Kind && w.Ref.Name == o.Ref.Name {
				return w.Ref
			}
		}
	}
	return nil
}

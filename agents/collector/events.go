package collector

import (
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
)

// owner is an object that a pod belongs to, directly or not.
type owner struct{ kind, name string }

// owners of a pod: those that it names, and the Deployment or Rollout of its ReplicaSet,
// whose name is that without the hash of the template.
func owners(p *corev1.Pod) []owner {
	var list []owner
	for _, ref := range p.OwnerReferences {
		list = append(list, owner{ref.Kind, ref.Name})
		for label, kind := range map[string]string{"pod-template-hash": "Deployment", "rollouts-pod-template-hash": "Rollout"} {
			hash := p.Labels[label]
			if name, ok := strings.CutSuffix(ref.Name, "-"+hash); ok && hash != "" && ref.Kind == "ReplicaSet" {
				list = append(list, owner{kind, name})
			}
		}
	}
	return list
}

// What an owner's name is followed by in the names of those that it makes, which have
// no vowels (k8s.io/apimachinery/pkg/util/rand).
var (
	replicaSetOf = regexp.MustCompile(`^-[0-9bcdfghjklmnpqrstvwxz]{5,10}$`)
	podOf        = regexp.MustCompile(`^-[0-9bcdfghjklmnpqrstvwxz]{5}$`)
	ordinalOf    = regexp.MustCompile(`^-[0-9]+$`)
	podOfReplica = regexp.MustCompile(`^-[0-9bcdfghjklmnpqrstvwxz]{5,10}-[0-9bcdfghjklmnpqrstvwxz]{5}$`)
)

// about says that an object is of the same workload as a pod: the pod, one of its
// owners, or one that an owner makes, although there may never be such a pod.
func (p *pod) about(kind, name string) bool {
	if kind == "Pod" && name == p.name {
		return true
	}
	for _, o := range p.owners {
		rest, ok := strings.CutPrefix(name, o.name)
		switch {
		case kind == o.kind && name == o.name:
			return true
		case !ok:
			continue
		case (o.kind == "Deployment" || o.kind == "Rollout") && (kind == "ReplicaSet" && replicaSetOf.MatchString(rest) || kind == "Pod" && podOfReplica.MatchString(rest)),
			o.kind == "StatefulSet" && kind == "Pod" && ordinalOf.MatchString(rest),
			(o.kind == "DaemonSet" || o.kind == "Job" || o.kind == "ReplicaSet") && kind == "Pod" && podOf.MatchString(rest):
			return true
		}
	}
	return false
}

// eventChanged passes on an event about the workload that is new, or was counted on.
func (c *Collector) eventChanged(object any) {
	e, ok := object.(*corev1.Event)
	if !ok {
		return
	}
	at, count := eventTime(e), e.Count
	if e.Series != nil {
		count = e.Series.Count
	}
	count = max(count, 1)
	if !c.recent(at) || !c.concerns(e.InvolvedObject) {
		return
	}
	c.mu.Lock()
	bound(c.seen)
	known := c.seen[e.UID] >= count
	c.seen[e.UID] = count
	c.mu.Unlock()
	if known {
		return
	}
	c.clusterEvent(at, &cloudv1.ClusterEvent{
		Type: e.Type, Reason: e.Reason, Object: e.InvolvedObject.Kind + "/" + e.InvolvedObject.Name, Message: e.Message, Count: count,
	})
}

func eventTime(e *corev1.Event) time.Time {
	at := e.CreationTimestamp.Time
	for _, t := range []time.Time{e.LastTimestamp.Time, e.EventTime.Time} {
		if t.After(at) {
			at = t
		}
	}
	if e.Series != nil && e.Series.LastObservedTime.After(at) {
		at = e.Series.LastObservedTime.Time
	}
	return at
}

func (c *Collector) concerns(ref corev1.ObjectReference) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pods {
		if p.namespace == ref.Namespace && p.about(ref.Kind, ref.Name) {
			return true
		}
	}
	return false
}

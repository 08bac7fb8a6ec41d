package controller

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/operator/note"
)

const (
	// storedLimit is how long a pod may take from its admission until it is stored; others
	// may still refuse it.
	storedLimit = 10 * time.Second
	// maxBare bounds the pods that are waited for.
	maxBare = 100
)

// BarePods tells in an event why a pod that no workload owns has no sidecar. The webhook
// cannot: at admission the pod has no UID yet, by which an event is found.
type BarePods struct {
	client client.Reader // without a cache; it needs list of pods
	events note.Recorder
	log    *slog.Logger
	pods   chan client.ObjectKey
}

// NewBarePods returns one that tells as long as it runs.
func NewBarePods(c client.Reader, events note.Recorder, log *slog.Logger) *BarePods {
	return &BarePods{client: c, events: events, log: log, pods: make(chan client.ObjectKey, maxBare)}
}

// NeedLeaderElection says no: every replica serves webhooks.
func (b *BarePods) NeedLeaderElection() bool { return false }

// Refused notes a pod that is about to be stored. It does not wait, and may be called at
// the same time.
func (b *BarePods) Refused(pod client.ObjectKey) {
	select {
	case b.pods <- pod:
	default:
		b.log.Warn("a pod without a sidecar says why in its annotation only, since too many are made at once", "pod", pod)
	}
}

// Start tells of pods until the context ends.
func (b *BarePods) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case pod := <-b.pods:
			if err := b.tell(ctx, pod); err != nil && ctx.Err() == nil {
				b.log.Warn("no event says why a pod has no sidecar", "pod", pod, "error", err)
			}
		}
	}
}

func (b *BarePods) tell(ctx context.Context, key client.ObjectKey) error {
	kind := corev1.SchemeGroupVersion.WithKind("Pod")
	return wait.PollUntilContextTimeout(ctx, time.Second/2, storedLimit, true, func(ctx context.Context) (bool, error) {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind("PodList"))
		if err := b.client.List(ctx, list, client.InNamespace(key.Namespace), client.MatchingFields{"metadata.name": key.Name}); err != nil {
			return false, fmt.Errorf("pods: %w", err)
		}
		if len(list.Items) == 0 {
			return false, nil
		}
		pod := &list.Items[0]
		pod.SetGroupVersionKind(kind)
		if why := pod.Annotations[annotation.Refused]; why != "" {
			b.events.Eventf(pod, nil, corev1.EventTypeWarning, ReasonNotInjected, "Inject", "%s", why)
		}
		return true, nil
	})
}

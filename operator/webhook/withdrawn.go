package webhook

import (
	"context"
	"log/slog"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/inject"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// Withdrawn returns the annotation annotation.Refused of a Job or CronJob; "" where it has
// none, or where that cannot be known.
type Withdrawn func(ctx context.Context, kind string, key client.ObjectKey) string

// AskWithdrawn returns a Withdrawn that reads the object's metadata, without a cache: the
// next pod may be made as soon as one was refused.
func AskWithdrawn(c client.Reader, log *slog.Logger) Withdrawn {
	return func(ctx context.Context, kind string, key client.ObjectKey) string {
		ctx, cancel := context.WithTimeout(ctx, askLimit)
		defer cancel()
		object := &metav1.PartialObjectMetadata{}
		object.SetGroupVersionKind(batchv1.SchemeGroupVersion.WithKind(kind))
		if err := c.Get(ctx, key, object); err != nil && !apierrors.IsNotFound(err) {
			log.Warn("whether the sidecar was withdrawn is not known", "kind", kind, "name", key, "error", err)
		}
		return object.Annotations[annotation.Refused]
	}
}

// withdrawn says why a pod goes without the sidecar that its stamp is for. The template of
// a Job cannot change, so that it keeps a stamp with which its pods are refused.
func (p Pods) withdrawn(ctx context.Context, w inject.Workload, pod *corev1.Pod) error {
	st, err := stamp.Parse(pod.Annotations[annotation.Stamp])
	if err != nil || st.Kind != "Job" && st.Kind != "CronJob" || inject.Injected(pod) {
		return nil
	}
	key := client.ObjectKey{Namespace: w.Namespace, Name: st.Name}
	if owner := metav1.GetControllerOf(pod); st.Kind == "Job" && owner != nil {
		key.Name = owner.Name // the stamp is older than a name that the API server made
	}
	r, err := stamp.ParseRefusal(p.Withdrawn(ctx, st.Kind, key))
	if err != nil || r.Hash != st.Hash {
		return nil
	}
	return &inject.Refused{Workload: w, Reason: inject.ReasonWithdrawn, Text: r.Reason}
}

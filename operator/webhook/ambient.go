package webhook

import (
	"context"

	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// Ambient notes on pods that they are in Istio's ambient mesh. It is asked about those of
// namespaces that are, before Pods is, which then refuses them the sidecar.
type Ambient struct{}

var _ admission.Handler = Ambient{}

// Handle answers one request.
func (Ambient) Handle(_ context.Context, req admission.Request) admission.Response {
	if req.Kind.Kind != "Pod" || req.Operation != admissionv1.Create {
		return admission.Allowed("")
	}
	pod, err := decode(req.Object.Raw)
	if err != nil {
		return unreadable(err)
	}
	annotations := pod.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[annotation.Mesh] = "istio.io/dataplane-mode=ambient of its namespace"
	pod.SetAnnotations(annotations)
	return patched(req.Object.Raw, pod)
}

package webhook

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/inject"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// Pods puts the sidecar into pods whose template is stamped, with the settings of
// the stamp, and into pods without a workload that ask for it themselves. Where
// that cannot be, the pod starts as it is, and an annotation says why.
type Pods struct {
	// Instance is as in Workloads.
	Instance string
	// Options returns the cluster's settings. They are read anew for each pod, since
	// the forwarder's certificate is made while the operator runs.
	Options func() inject.Options
	// Running says whether a replay, which a pod is to take part in, still runs. A
	// rollback brings back templates of replays that have ended.
	Running Running
	// Withdrawn says why the pods of a Job or CronJob are to have no sidecar.
	Withdrawn Withdrawn
	// Refused is told of pods without a workload that start without a sidecar, before they
	// are stored.
	Refused func(client.ObjectKey)
	// Logger says which pods were injected, and which not.
	Logger *slog.Logger
}

var _ admission.Handler = Pods{}

// Handle answers one request.
func (p Pods) Handle(ctx context.Context, req admission.Request) admission.Response {
	switch {
	case req.Kind.Kind != "Pod" || inject.Reserved(req.Namespace):
		return admission.Allowed("")
	case req.Operation == admissionv1.Update:
		return afterwards(req)
	case req.Operation != admissionv1.Create:
		return admission.Allowed("")
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(req.Object.Raw, pod); err != nil {
		return unreadable(err)
	}
	bare := pod.Annotations[annotation.Stamp] == "" && len(pod.OwnerReferences) == 0
	o := p.Options()
	w, s, err := settings(pod)
	wrong := err != nil && bare
	if err == nil {
		o.Replay, err = p.replay(ctx, pod, &w, &s)
	}
	w.Namespace = req.Namespace // which a pod of a template does not have yet
	log := p.Logger.With("workload", w.String())
	switch {
	case wrong:
		log.Info("pod refused", "error", err)
		return admission.Denied(err.Error())
	case err != nil:
		return p.refuse(log, req, pod, err)
	case !s.Inject && len(pod.OwnerReferences) > 0 && pod.Annotations[annotation.Stamp] == "":
		return admission.Allowed("").WithWarnings(misplaced(pod.Annotations, nil, "a pod of a workload", "put them on the workload itself")...)
	case !s.Inject || s.Ignore || s.ManagedBy != "" && s.ManagedBy != p.Instance:
		return admission.Allowed("")
	}
	if err := p.withdrawn(ctx, w, pod); err != nil {
		return p.refuse(log, req, pod, err)
	}
	injected, err := inject.Pod(pod, w, s, o)
	if _, ok := errors.AsType[*inject.Refused](err); err != nil && !ok {
		return unable(log, o.Replay != nil, err)
	}
	if err != nil {
		return p.refuse(log, req, pod, err)
	}
	if !inject.Injected(pod) { // the API server asks again after others' changes
		log.Info("pod injected")
	}
	resp := patchedPod(req.Object.Raw, pod, injected)
	if bare && !inject.Injected(pod) { // of others it was said when their workload was annotated
		resp = resp.WithWarnings(overridden(pod, s)...)
	}
	return resp
}

// settings returns what a pod asks for, by its stamp or, where it has neither
// stamp nor owner, by itself; the zero settings ask for nothing.
func settings(pod *corev1.Pod) (inject.Workload, annotation.Sidecar, error) {
	text := pod.Annotations[annotation.Stamp]
	if text == "" {
		if len(pod.OwnerReferences) > 0 {
			return inject.Workload{}, annotation.Sidecar{}, nil
		}
		s, err := annotation.Parse(pod.Annotations)
		return inject.Workload{Kind: "Pod", Name: cmp.Or(pod.Name, strings.TrimSuffix(pod.GenerateName, "-"))}, s, err
	}
	st, err := stamp.Parse(text)
	if err != nil {
		return inject.Workload{}, annotation.Sidecar{}, err
	}
	w := inject.Workload{Kind: st.Kind, Name: st.Name}
	s, err := annotation.Parse(st.Settings)
	if err != nil {
		return w, annotation.Sidecar{}, fmt.Errorf("annotation %s: %w", annotation.Stamp, err)
	}
	return w, s, nil
}

// replay returns the replay that a pod takes part in, nil for none. A pod that does
// gets a sidecar, with the settings of its workload or, where that has none, with the
// usual ones.
func (p Pods) replay(ctx context.Context, pod *corev1.Pod, w *inject.Workload, s *annotation.Sidecar) (*stamp.Replay, error) {
	text, ok := pod.Annotations[annotation.Replay]
	if !ok {
		return nil, nil
	}
	r, err := stamp.ParseReplay(text)
	if err != nil || !p.Running(ctx, r) {
		return nil, err
	}
	if !s.Inject {
		*w = inject.Workload{Kind: r.Kind, Name: r.Workload}
		*s, err = annotation.Parse(map[string]string{annotation.Inject: "true"})
	}
	return &r, err
}

// unable is for what is the operator's own fault, such as that it does not have the
// forwarder's certificate yet. The pod starts as it is with nothing written on it, so that
// it is made anew later. In a replay it would call the real dependencies: it is refused,
// and its controller tries again.
func unable(log *slog.Logger, replayed bool, err error) admission.Response {
	log.Error("pod is not injected", "error", err)
	if replayed {
		return admission.Errored(http.StatusServiceUnavailable, fmt.Errorf("the operator cannot route pods yet: %w", err))
	}
	return admission.Allowed("").WithWarnings(warning(err))
}

// refuse lets the pod start as it is, with the reason on it. It takes no part in a
// replay then: nothing but the labels makes the generator send to a pod.
func (p Pods) refuse(log *slog.Logger, req admission.Request, pod *corev1.Pod, err error) admission.Response {
	if _, ok := errors.AsType[*inject.Refused](err); ok {
		log.Info("pod is not injected", "reason", err)
	} else {
		log.Error("pod is not injected", "error", err)
	}
	again := pod.Annotations[annotation.Refused] != ""
	if !again && len(pod.OwnerReferences) == 0 && pod.Name != "" && (req.DryRun == nil || !*req.DryRun) {
		p.Refused(client.ObjectKey{Namespace: req.Namespace, Name: pod.Name})
	}
	after := pod.DeepCopy()
	if after.Annotations == nil {
		after.Annotations = map[string]string{}
	}
	after.Annotations[annotation.Refused] = err.Error()
	delete(after.Labels, annotation.ReplayID)
	delete(after.Labels, annotation.ReplayTarget)
	return patchedPod(req.Object.Raw, pod, after).WithWarnings(warning(err))
}

package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/argo"
	"github.com/speedscale/speedscale/cluster/inject"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// Workloads stamps the pod templates of workloads that ask for a sidecar, takes replays
// that have ended off them, and changes nothing else. It refuses annotations that are
// wrong, but only in the request that brings them: a workload that runs can always be
// rolled out and scaled.
type Workloads struct {
	// Instance is this operator's name in annotation.ManagedBy; workloads of
	// another instance are left alone.
	Instance string
	// Running says whether a replay, which the template names, still runs.
	Running Running
	// Logger says which workloads were stamped and refused.
	Logger *slog.Logger
}

var _ admission.Handler = Workloads{}

// templatePath is where a kind has its pod template.
func templatePath(kind string) []string {
	switch kind {
	case "Deployment", "StatefulSet", "DaemonSet", "Job", "ReplicaSet", argo.Kind:
		return []string{"spec", "template"}
	case "CronJob":
		return []string{"spec", "jobTemplate", "spec", "template"}
	}
	return nil
}

// Handle answers one request. Whatever the request holds, it ends in a patch, a
// refusal of sidecar annotations, or nothing done.
func (w Workloads) Handle(ctx context.Context, req admission.Request) admission.Response {
	path := templatePath(req.Kind.Kind)
	if path == nil || inject.Reserved(req.Namespace) || req.Operation != admissionv1.Create && req.Operation != admissionv1.Update {
		return admission.Allowed("")
	}
	object, err := decode(req.Object.Raw)
	if err != nil {
		return unreadable(err)
	}
	old := &unstructured.Unstructured{}
	if req.Operation == admissionv1.Update {
		if old, err = decode(req.OldObject.Raw); err != nil {
			return unreadable(err)
		}
	}
	at := append(slices.Clone(path), "metadata", "annotations")
	ended := w.dropEnded(ctx, object, old, at)
	return w.answer(req, object, old, at, ended).WithWarnings(inTemplate(object, old, at)...).WithWarnings(w.overridden(object, old, path)...)
}

// dropEnded takes the annotation of a replay that has ended off the template, and says
// whether it did. A rollback brings it back, and no pod of such a template can be made
// while the operator is away. What cannot be read stays.
func (w Workloads) dropEnded(ctx context.Context, object, old *unstructured.Unstructured, at []string) bool {
	field := append(slices.Clone(at), annotation.Replay)
	text, _, _ := unstructured.NestedString(object.Object, field...)
	r, err := stamp.ParseReplay(text)
	if err != nil || object.GetDeletionTimestamp() != nil || ownedByWorkload(object) || existingJob(object, old) || w.Running(ctx, r) {
		return false
	}
	unstructured.RemoveNestedField(object.Object, field...)
	return true
}

// answer stamps the template, whose annotations are at a path, or refuses to. changed says
// that the object is another one already.
func (w Workloads) answer(req admission.Request, object, old *unstructured.Unstructured, at []string, changed bool) admission.Response {
	log := w.Logger.With("kind", req.Kind.Kind, "namespace", req.Namespace, "name", req.Name)
	same := maps.Equal(ours(object), ours(old))
	restamped, err := w.restamp(object, old, at)
	if err != nil && !same {
		log.Info("workload refused", "error", err)
		return admission.Denied(err.Error())
	}
	resp := admission.Allowed("")
	if restamped || changed {
		log.Info("pod template changed", "stamp", restamped, "endedReplay", changed)
		resp = patched(req.Object.Raw, object)
	}
	if err != nil {
		log.Warn("stamp is left as it is", "error", err)
		return resp.WithWarnings(warning(err))
	}
	if existingJob(object, old) && !same {
		resp = resp.WithWarnings(warning(errors.New("a job that is there already keeps the pods that it has: what is annotated now counts for a new one")))
	}
	return resp
}

// existingJob says that the request is about a Job that is there already.
func existingJob(object, old *unstructured.Unstructured) bool {
	return object.GetKind() == "Job" && old.Object != nil
}

// restamp puts the stamp on the object's template, or takes it away, and says
// whether the object is another one now.
func (w Workloads) restamp(object, old *unstructured.Unstructured, at []string) (bool, error) {
	if object.GetDeletionTimestamp() != nil || ownedByWorkload(object) {
		return false, nil
	}
	present := stampAt(object, at)
	before := stampAt(old, at)
	s, err := annotation.Parse(object.GetAnnotations())
	if existingJob(object, old) && (err == nil || maps.Equal(ours(object), ours(old))) {
		// The template of a Job cannot change any more.
		return setStamp(object, at, before)
	}
	if err != nil {
		return false, err
	}
	switch {
	case s.Inject && s.ManagedBy != "" && s.ManagedBy != w.Instance:
		return false, nil // its stamp is the other operator's
	case !s.Inject || s.Ignore:
		forgotten := forget(object)
		changed, err := setStamp(object, at, "")
		return changed || forgotten, err
	case object.GetKind() == "ReplicaSet":
		return false, fmt.Errorf("replicaset %q asks for a sidecar (%s), which a replicaset by itself cannot have: use a deployment", name(object), annotation.Inject)
	case argo.Elsewhere(object) != nil:
		return false, fmt.Errorf("%s %q asks for a sidecar (%s), and %s", strings.ToLower(object.GetKind()), name(object), annotation.Inject, argo.Elsewhere(object).Reason())
	}
	forgotten := false
	if text, ok := object.GetAnnotations()[annotation.Refused]; ok {
		if r, err := stamp.ParseRefusal(text); err == nil && r.Hash == s.Hash() {
			return setStamp(object, at, "") // it was tried, and withdrawn
		}
		forgotten = forget(object)
	}
	// A manifest that replaces the object does not have the stamp.
	if present == "" {
		present = before
	}
	stamped, err := setStamp(object, at, stamp.Next(present, object.GetKind(), name(object), s))
	return stamped || forgotten, err
}

// overridden warns of variables of the app's that may not count any more.
func (w Workloads) overridden(object, old *unstructured.Unstructured, path []string) (warnings []string) {
	s, err := annotation.Parse(object.GetAnnotations())
	if err != nil || !s.Inject || s.Ignore || s.ManagedBy != "" && s.ManagedBy != w.Instance || ownedByWorkload(object) || existingJob(object, old) {
		return nil
	}
	found, _, _ := unstructured.NestedMap(object.Object, path...)
	var template corev1.PodTemplateSpec
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(found, &template); err != nil {
		return nil // the API server says what is wrong with it
	}
	return overridden(&corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}, s)
}

// overridden are the warnings of inject.Overridden.
func overridden(pod *corev1.Pod, s annotation.Sidecar) (warnings []string) {
	for _, text := range inject.Overridden(pod, s) {
		warnings = append(warnings, warning(errors.New(text)))
	}
	return warnings
}

// forget takes away why the sidecar was withdrawn, and says whether it was there.
func forget(object *unstructured.Unstructured) bool {
	all := object.GetAnnotations()
	if _, ok := all[annotation.Refused]; !ok {
		return false
	}
	delete(all, annotation.Refused)
	object.SetAnnotations(all)
	return true
}

// name of an object, which the API server completes later where it makes names.
func name(object *unstructured.Unstructured) string {
	if n := object.GetName(); n != "" {
		return n
	}
	return strings.TrimSuffix(object.GetGenerateName(), "-")
}

// ownedByWorkload says that another workload, such as a CronJob, wrote the
// object's template, and its stamp with it.
func ownedByWorkload(object *unstructured.Unstructured) bool {
	owner := metav1.GetControllerOf(object)
	return owner != nil && (templatePath(owner.Kind) != nil || object.GetKind() == "ReplicaSet")
}

func stampAt(object *unstructured.Unstructured, at []string) string {
	value, _, _ := unstructured.NestedString(object.Object, append(slices.Clone(at), annotation.Stamp)...)
	return value
}

// setStamp writes a stamp, "" for none.
func setStamp(object *unstructured.Unstructured, at []string, value string) (bool, error) {
	field := append(slices.Clone(at), annotation.Stamp)
	if stampAt(object, at) == value {
		return false, nil
	}
	if value == "" {
		unstructured.RemoveNestedField(object.Object, field...)
		return true, nil
	}
	if err := unstructured.SetNestedField(object.Object, value, field...); err != nil {
		return false, fmt.Errorf("stamp of the pod template: %w", err)
	}
	return true, nil
}

// ours are the annotations that a request may be refused for.
func ours(object *unstructured.Unstructured) map[string]string {
	found := map[string]string{}
	for key, value := range object.GetAnnotations() {
		if strings.HasPrefix(key, annotation.Prefix) || key == annotation.Ignore || key == annotation.ManagedBy {
			found[key] = value
		}
	}
	return found
}

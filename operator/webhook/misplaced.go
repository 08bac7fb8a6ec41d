package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// asked are the annotations by which something is asked of a sidecar.
func asked(annotations map[string]string) map[string]string {
	found := maps.Clone(annotations)
	maps.DeleteFunc(found, func(key, _ string) bool { return !strings.HasPrefix(key, annotation.Prefix) })
	return found
}

// misplaced warns of annotations that do nothing where they are, unless they were there
// before; nil where there are none. hint says where they belong.
func misplaced(now, before map[string]string, of, hint string) []string {
	found := asked(now)
	if len(found) == 0 || maps.Equal(found, asked(before)) {
		return nil
	}
	names := slices.Sorted(maps.Keys(found))
	return []string{warning(fmt.Errorf("annotations of %s do nothing, %s: %s", of, hint, strings.Join(names, ", ")))}
}

// inTemplate warns of annotations on a workload's pod template.
func inTemplate(object, old *unstructured.Unstructured, at []string) []string {
	if ownedByWorkload(object) {
		return nil // it was said of the owner
	}
	now, _, _ := unstructured.NestedStringMap(object.Object, at...)
	before, _, _ := unstructured.NestedStringMap(old.Object, at...)
	return misplaced(now, before, "a pod template", "put them on the "+strings.ToLower(object.GetKind())+" itself")
}

// afterwards answers for a pod that is there already: it gets a sidecar when it is made,
// or never.
func afterwards(req admission.Request) admission.Response {
	var pod, old metav1.PartialObjectMetadata
	if err := errors.Join(json.Unmarshal(req.Object.Raw, &pod), json.Unmarshal(req.OldObject.Raw, &old)); err != nil {
		return unreadable(err)
	}
	hint := "make the pod anew with them"
	if len(pod.OwnerReferences) > 0 {
		hint = "put them on the workload that it is of"
	}
	return admission.Allowed("").WithWarnings(misplaced(pod.Annotations, old.Annotations, "a pod that is there already", hint)...)
}

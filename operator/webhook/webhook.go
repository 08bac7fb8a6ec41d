// Package webhook answers the API server about objects before they are stored:
// workloads that ask for a sidecar get a stamp on their pod template, and pods
// with a stamp get the sidecar. What it decides is made by cluster/stamp and
// cluster/inject; this package only reads requests and writes patches.
//
// It never stands in the way of an app: a request that it cannot understand is
// let through. What it refuses is a sidecar annotation that is wrong, and a pod of a
// replay that it cannot route yet.
package webhook

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json" // keeps whole numbers whole
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// The paths at which the webhooks are served.
const (
	WorkloadsPath = "/mutate"
	PodsPath      = "/mutate-pods"
	AmbientPath   = "/mutate-ambient-pods"
)

// maxWarning keeps warnings readable, in bytes. The API server passes on 4096 for
// all warnings of a request, and cuts each to 256 beyond that.
const maxWarning = 256

func decode(raw []byte) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(raw); err != nil {
		return nil, err
	}
	return u, nil
}

// patched lets a request through with what differs between its object and ours.
func patched(raw []byte, object any) admission.Response {
	current, err := json.Marshal(object)
	if err != nil {
		return unreadable(err)
	}
	r := admission.PatchResponseFromRaw(raw, current)
	if !r.Allowed {
		return unreadable(fmt.Errorf("patch: %s", r.Result.Message))
	}
	return r
}

// patchedPod is patched for a change of a pod, where raw may have fields that
// our version of the types does not know.
func patchedPod(raw []byte, before, after *corev1.Pod) admission.Response {
	texts := [3][]byte{raw}
	var documents [3]any
	for i, pod := range []*corev1.Pod{nil, before, after} {
		var err error
		if pod != nil {
			texts[i], err = json.Marshal(pod)
		}
		if err == nil {
			err = json.Unmarshal(texts[i], &documents[i])
		}
		if err != nil {
			return unreadable(err)
		}
	}
	return patched(raw, overlay(documents[0], documents[1], documents[2]))
}

// unreadable lets a request through that was not understood, and says so to
// whoever made it.
func unreadable(err error) admission.Response {
	return admission.Allowed("").WithWarnings(warning(err))
}

func warning(err error) string {
	text := "speedscale: " + err.Error()
	if len(text) > maxWarning {
		text = text[:maxWarning] + "…"
	}
	return text
}

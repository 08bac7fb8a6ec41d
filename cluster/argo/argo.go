// Package argo has what is read of a Rollout, the workload of Argo Rollouts, whose own
// module is not imported: it needs as much as a whole controller. Fields and phases mean
// what https://argo-rollouts.readthedocs.io/en/stable/features/specification/ says.
package argo

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// The resource.
const (
	Group      = "argoproj.io"
	Version    = "v1alpha1"
	APIVersion = Group + "/" + Version
	Kind       = "Rollout"
	Resource   = "rollouts"
)

// Rollout is what is read of one.
type Rollout struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Replicas    *int32                 `json:"replicas"`
		Selector    *metav1.LabelSelector  `json:"selector"`
		Template    corev1.PodTemplateSpec `json:"template"`
		WorkloadRef *WorkloadRef           `json:"workloadRef"`
		Paused      bool                   `json:"paused"`
	} `json:"spec"`
	Status struct {
		// ObservedGeneration is a number in a string.
		ObservedGeneration string      `json:"observedGeneration"`
		Replicas           int32       `json:"replicas"`
		UpdatedReplicas    int32       `json:"updatedReplicas"`
		ReadyReplicas      int32       `json:"readyReplicas"`
		Phase              string      `json:"phase"`
		Message            string      `json:"message"`
		Conditions         []condition `json:"conditions"`
	} `json:"status"`
}

type condition struct {
	Type    string                 `json:"type"`
	Status  corev1.ConditionStatus `json:"status"`
	Message string                 `json:"message"`
}

// WorkloadRef is the object whose pod template a Rollout uses in place of its own.
type WorkloadRef struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// Reason says why the Rollout itself cannot have a sidecar, and what can.
func (r WorkloadRef) Reason() string {
	text := fmt.Sprintf("its pods are of the template of %s %q (spec.workloadRef)", strings.ToLower(r.Kind), r.Name)
	if r.Kind == "Deployment" {
		return text + ": annotate that one"
	}
	return text + ", which cannot have a sidecar: refer to a Deployment"
}

// New returns an empty object, to be read into.
func New() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": APIVersion, "kind": Kind}}
}

// NewList returns an empty list, to be read into.
func NewList() *unstructured.UnstructuredList {
	return &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": APIVersion, "kind": Kind + "List"}}
}

// Parse reads an object. Its error names it.
func Parse(u *unstructured.Unstructured) (*Rollout, error) {
	r := &Rollout{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, r); err != nil {
		return nil, fmt.Errorf("%s %q: %w", u.GetKind(), u.GetName(), err)
	}
	return r, nil
}

// Elsewhere returns where an object has its pods' template if it is a Rollout without
// one of its own, nil otherwise.
func Elsewhere(u *unstructured.Unstructured) *WorkloadRef {
	kind, _, _ := unstructured.NestedString(u.Object, "spec", "workloadRef", "kind")
	name, found, _ := unstructured.NestedString(u.Object, "spec", "workloadRef", "name")
	if u.GetKind() != Kind || !found {
		return nil
	}
	return &WorkloadRef{Kind: kind, Name: name}
}

// Replicas are the pods that it wants.
func (r *Rollout) Replicas() int32 {
	if r.Spec.Replicas == nil {
		return 1
	}
	return *r.Spec.Replicas
}

// Seen says that the controller has seen the newest spec, which the status is of then.
func (r *Rollout) Seen() bool {
	seen, err := strconv.ParseInt(r.Status.ObservedGeneration, 10, 64)
	return err == nil && seen >= r.Generation
}

// Held says why pods are not replaced now, "" where they are: somebody has paused it, or
// it has come to a step that waits for somebody.
func (r *Rollout) Held() string {
	const promote = " (kubectl argo rollouts promote goes on)"
	switch {
	case r.Spec.Paused:
		return "it is paused" + promote
	case r.Seen() && r.Status.Phase == "Paused":
		return "it is paused: " + cmp.Or(r.Status.Message, "by a step") + promote
	}
	return ""
}

// Refused is why the API server refused pods of the newest spec, "" where it did not.
func (r *Rollout) Refused() string {
	for _, c := range r.Status.Conditions {
		if c.Type == "ReplicaFailure" && c.Status == corev1.ConditionTrue && r.Seen() {
			return c.Message
		}
	}
	return ""
}

// Failing is why it cannot make pods or go on, "" where it can.
func (r *Rollout) Failing() string {
	text := r.Refused()
	if text == "" && r.Seen() && r.Status.Phase == "Degraded" {
		text = cmp.Or(r.Status.Message, "it is degraded")
	}
	return text
}

package workload

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/inject"
)

// Change is what is to become of a workload's annotations.
type Change struct {
	*Workload
	// Annotations are those that change; nil takes one away.
	Annotations map[string]*string
	// Warnings are those of the function of that name.
	Warnings []string
}

// PlanAll plans sidecars for workloads, and changes nothing yet. Its error has all
// that is wrong with any of them, and IsRefused is true of those that cannot have a sidecar.
func PlanAll(ctx context.Context, c kubernetes.Interface, refs []Ref, set map[string]string) ([]Change, error) {
	var changes []Change
	var errs []error
	for _, r := range refs {
		change, err := planOne(ctx, c, r, set)
		errs = append(errs, err)
		changes = append(changes, change)
	}
	return changes, errors.Join(errs...)
}

func planOne(ctx context.Context, c kubernetes.Interface, r Ref, set map[string]string) (Change, error) {
	if err := r.Replaceable(); err != nil {
		return Change{}, err
	}
	w, err := Get(ctx, c, r)
	if err != nil {
		return Change{}, err
	}
	p, err := Plan(w, set)
	if err != nil {
		return Change{}, err
	}
	if err := foreign(ctx, c, r, p.Settings); err != nil {
		return Change{}, err
	}
	warnings, err := Warnings(ctx, c, w, p.Settings)
	return Change{Workload: w, Annotations: p.Changes, Warnings: warnings}, err
}

// Warnings say what a workload's sidecars do not see with these settings, though they run,
// and what of the app's own they may override.
func Warnings(ctx context.Context, c kubernetes.Interface, w *Workload, s annotation.Sidecar) ([]string, error) {
	services, err := Services(ctx, c, w)
	if err != nil {
		return nil, err
	}
	return slices.Concat(Uncaptured(w, s, services), shutOut(ctx, c, w, s), crowded(w), Unusable(ctx, c, w.Namespace, s), Overridden(w, s)), nil
}

// Overridden is inject.Overridden for a workload's pods.
func Overridden(w *Workload, s annotation.Sidecar) []string {
	return inject.Overridden(&corev1.Pod{ObjectMeta: w.Template.ObjectMeta, Spec: w.Template.Spec}, s)
}

// RemoveAll plans to take the sidecars of workloads away, and changes nothing yet.
func RemoveAll(ctx context.Context, c kubernetes.Interface, refs []Ref) ([]Change, error) {
	var changes []Change
	var errs []error
	for _, r := range refs {
		w, err := Get(ctx, c, r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		changes = append(changes, Change{Workload: w, Annotations: Removal(w)})
	}
	return changes, errors.Join(errs...)
}

// Injected returns the workloads of a namespace, "" for all, that ask for a sidecar
// or whose pods get one still.
func Injected(ctx context.Context, c kubernetes.Interface, namespace string) ([]*Workload, error) {
	all, err := List(ctx, c, namespace)
	var found []*Workload
	for _, w := range all {
		if w.Annotations[annotation.Inject] == "true" || w.Template.Annotations[annotation.Stamp] != "" {
			found = append(found, w)
		}
	}
	return found, err
}

// Patch is the change as YAML: what kubectl patch --type merge --patch-file takes, with
// the workload's name.
func (c Change) Patch() (string, error) {
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": APIVersion(c.Kind), "kind": c.Kind,
		"metadata": map[string]any{"name": c.Name, "namespace": c.Namespace, "annotations": c.Annotations},
	})
	return string(text), err
}

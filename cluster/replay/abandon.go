package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/annotation"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/stamp"
	"github.com/speedscale/speedscale/cluster/workload"
)

// Abandon does for a replay what the operator would, where there is none any more: its
// workloads lose its annotation, and nothing keeps it from being deleted. One that has
// objects in the cluster is deleted, and they go with it.
func (c Client) Abandon(ctx context.Context, kube kubernetes.Interface, r *v1.TrafficReplay) error {
	var errs []error
	for _, w := range r.Spec.Workloads {
		if w.Ref != nil {
			errs = append(errs, restore(ctx, kube, r, w.Ref))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("trafficreplay %s/%s: %w", r.Namespace, r.Name, err)
	}
	if err := c.letGo(ctx, r); err != nil {
		return err
	}
	if !r.Status.Active {
		return nil
	}
	if err := c.Delete(ctx, r.Namespace, r.Name); !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

// letGo takes the operator's finalizer off a replay.
func (c Client) letGo(ctx context.Context, r *v1.TrafficReplay) error {
	rest := slices.DeleteFunc(slices.Clone(r.Finalizers), func(f string) bool { return f == v1.Finalizer })
	if len(rest) == len(r.Finalizers) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": rest, "resourceVersion": r.ResourceVersion}})
	if err != nil {
		return err
	}
	_, err = c.in(r.Namespace).Patch(ctx, r.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "speedctl"})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("trafficreplay %s/%s: %w", r.Namespace, r.Name, err)
	}
	return nil
}

// restore takes the annotation of a replay off a workload that has it.
func restore(ctx context.Context, kube kubernetes.Interface, r *v1.TrafficReplay, ref *v1.WorkloadRef) error {
	at := workload.Ref{Kind: ref.Kind, Namespace: r.Namespace, Name: ref.Name}
	if ref.Namespace != "" {
		at.Namespace = ref.Namespace
	}
	w, err := workload.Get(ctx, kube, at)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	took, err := stamp.ParseReplay(w.Template.Annotations[annotation.Replay])
	if err != nil || took.Name != r.Namespace+"/"+r.Name {
		return nil // it takes part in none, or in another one
	}
	return workload.AnnotatePods(ctx, kube, at, map[string]*string{annotation.Replay: nil})
}

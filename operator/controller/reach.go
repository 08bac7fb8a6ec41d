package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// reachLimit bounds the wait for the webhook's answer.
const reachLimit = 5 * time.Second

// missing begins the report about a workload that is not rolled out, since that would be
// in vain.
const missing = "pods have no sidecar, and "

// vain says why a workload's pods, made anew, would be without a sidecar again; "" where
// they would have one.
func (w *Workloads) vain(ctx context.Context, id string, object client.Object, about description) (string, error) {
	if w.memory.givenUp(id) {
		return fmt.Sprintf("they were made anew %d times in vain; speedctl check, and the operator's log, say more", maxVain), nil
	}
	namespace := object.GetNamespace()
	if !w.memory.missedLately(namespace, w.Now()) {
		reached, err := w.reached(ctx, object, about)
		if err != nil || reached {
			return "", err
		}
		w.memory.missed(namespace, w.Now())
	}
	return "the API server does not reach the operator's webhook, by which new ones would have one; speedctl check says more", nil
}

// reached says whether the API server reaches the webhook: of a change that takes the stamp
// off a workload, made as a dry run, it returns one with the stamp then.
func (w *Workloads) reached(ctx context.Context, object client.Object, about description) (bool, error) {
	kind, err := w.Client.GroupVersionKindFor(object)
	if err != nil {
		return false, err
	}
	answer := &unstructured.Unstructured{}
	answer.SetGroupVersionKind(kind)
	answer.SetNamespace(object.GetNamespace())
	answer.SetName(object.GetName())
	change := about.templateChange(annotation.Stamp, nil)
	change["metadata"] = map[string]any{"resourceVersion": object.GetResourceVersion()}
	limited, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	err = w.write(limited, answer, change, client.DryRunAll)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("whether the webhook is reached: %w", err)
	}
	stamp, _, _ := unstructured.NestedString(answer.Object, append(slices.Clone(about.templatePath), "metadata", "annotations", annotation.Stamp)...)
	return stamp != "", nil
}

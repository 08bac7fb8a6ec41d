package workload

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// Roll has a workload's pods made anew with the same settings, which gives them the
// sidecar of the present version, and waits until they are there. A workload that has
// no stamp, or whose pods are not replaced, is left as it is, and one that is gone
// meanwhile needs nothing.
func Roll(ctx context.Context, c kubernetes.Interface, w *Workload, limit time.Duration, progress func(State)) (State, error) {
	text := w.Template.Annotations[annotation.Stamp]
	if text == "" {
		return State{Done: true, Text: "it has no sidecar yet"}, nil
	}
	if w.Held != "" {
		return State{Done: true, Text: w.Held}, nil
	}
	s, err := stamp.Parse(text)
	if err != nil {
		return State{}, fmt.Errorf("%s: %w", w.Ref, err)
	}
	s.Count++
	var state State
	err = AnnotatePods(ctx, c, w.Ref, map[string]*string{annotation.Stamp: new(s.String())})
	if err == nil {
		state, err = WaitInjected(ctx, c, w.Ref, limit, progress)
	}
	if apierrors.IsNotFound(err) {
		return State{Done: true, Text: "it is gone"}, nil
	}
	return state, err
}

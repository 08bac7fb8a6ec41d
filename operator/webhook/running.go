package webhook

import (
	"context"
	"log/slog"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// Running says whether a replay still runs; where that cannot be known, it does.
type Running func(context.Context, stamp.Replay) bool

// askLimit bounds a question, for which a pod waits.
const askLimit = 3 * time.Second

// AskRunning returns a Running that reads the TrafficReplay, without a cache: a pod may
// be made as soon as its template names the replay.
func AskRunning(c client.Reader, log *slog.Logger) Running {
	return func(ctx context.Context, r stamp.Replay) bool {
		ctx, cancel := context.WithTimeout(ctx, askLimit)
		defer cancel()
		namespace, name, _ := strings.Cut(r.Name, "/")
		found := &v1.TrafficReplay{}
		err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, found)
		switch {
		case apierrors.IsNotFound(err):
			return false
		case err != nil:
			log.Warn("whether a replay runs is not known", "replay", r.Name, "error", err)
			return true
		case string(found.UID) != r.ID:
			return false // another one of that name
		}
		// One that is not cleaned up keeps its routing.
		return found.Status.FinishedTime == nil || found.Spec.Cleanup == v1.CleanupNone
	}
}

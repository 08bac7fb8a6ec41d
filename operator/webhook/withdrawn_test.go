package webhook_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/speedscale/speedscale/cluster/annotation"
	clusterinject "github.com/speedscale/speedscale/cluster/inject"
	"github.com/speedscale/speedscale/cluster/stamp"
	"github.com/speedscale/speedscale/operator/webhook"
)

// TestPodsOfAJobWhoseSidecarWasWithdrawn: its template keeps the stamp, and its pods would
// be refused for ever.
func TestPodsOfAJobWhoseSidecarWasWithdrawn(t *testing.T) {
	const ofJob = "{apiVersion: batch/v1, kind: Job, name: checkout-x7k, uid: x, controller: true}"
	withdrawn := func(t *testing.T, text string) map[string]string {
		s, err := stamp.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return map[string]string{annotation.Refused: stamp.Refusal{Hash: s.Hash, Reason: "exceeded quota"}.String()}
	}
	now, before := map[string]string{}, map[string]string{annotation.ProxyOutPort: "5140"}
	for name, c := range map[string]struct {
		kind    string
		refused map[string]string // the settings
		away    bool
		want    bool
	}{
		"of a CronJob":              {kind: "CronJob", refused: now, want: true},
		"of a Job with a made name": {kind: "Job", refused: now, want: true},
		"not withdrawn":             {kind: "CronJob"},
		"for other settings":        {kind: "Job", refused: before},
		"not known":                 {kind: "Job", refused: now, away: true},
		"of another kind":           {kind: "Deployment", refused: now},
	} {
		t.Run(name, func(t *testing.T) {
			text := stampOf(t, c.kind, now)
			var notes map[string]string
			if c.refused != nil {
				notes = withdrawn(t, stampOf(t, c.kind, c.refused))
			}
			world := interceptor.NewClient(fake.NewClientBuilder().WithObjects(
				&batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout", Annotations: notes}},
				&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout-x7k", Annotations: notes}},
			).Build(), interceptor.Funcs{Get: func(ctx context.Context, in client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
				if c.away {
					return errors.New("away")
				}
				return in.Get(ctx, key, o, opts...)
			}})
			p := pods(t)
			p.Withdrawn = webhook.AskWithdrawn(world, discard())
			req := create(t, pod(annotation.Stamp+": '"+text+"'", ofJob, "restartPolicy: Never"))
			resp := p.Handle(t.Context(), req)
			got := decodePod(t, apply(t, req, resp))
			isIn := clusterinject.Injected(got)
			if reason := got.Annotations[annotation.Refused]; isIn == c.want || strings.Contains(reason, "exceeded quota") != c.want {
				t.Errorf("injected %v, reason %q", isIn, reason)
			}
			if c.want && (len(resp.Warnings) == 0 || len(got.Spec.Containers)+len(got.Spec.InitContainers) != len(decodePod(t, req.Object.Raw).Spec.Containers)) {
				t.Errorf("warnings %q, containers %v", resp.Warnings, names(got))
			}
		})
	}
}

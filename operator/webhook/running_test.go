package webhook_test

import (
	"context"
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/stamp"
	"github.com/speedscale/speedscale/operator/webhook"
)

func TestRunning(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	over := new(metav1.Now())
	replay := func(name string, cleanup v1.Cleanup, finished *metav1.Time) *v1.TrafficReplay {
		return &v1.TrafficReplay{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "1"},
			Spec:       v1.TrafficReplaySpec{Cleanup: cleanup},
			Status:     v1.TrafficReplayStatus{FinishedTime: finished},
		}
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		replay("runs", v1.CleanupInventory, nil), replay("ended", v1.CleanupInventory, over), replay("kept", v1.CleanupNone, over)).Build()
	away := interceptor.NewClient(c, interceptor.Funcs{Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
		return errors.New("away")
	}})
	for name, tt := range map[string]struct {
		from   client.Reader
		replay stamp.Replay
		want   bool
	}{
		"runs":                 {c, stamp.Replay{ID: "1", Name: "shop/runs"}, true},
		"ended":                {c, stamp.Replay{ID: "1", Name: "shop/ended"}, false},
		"ended, and left":      {c, stamp.Replay{ID: "1", Name: "shop/kept"}, true},
		"another of that name": {c, stamp.Replay{ID: "2", Name: "shop/runs"}, false},
		"gone":                 {c, stamp.Replay{ID: "1", Name: "shop/gone"}, false},
		"not known":            {away, stamp.Replay{ID: "1", Name: "shop/gone"}, true},
	} {
		if got := webhook.AskRunning(tt.from, discard())(t.Context(), tt.replay); got != tt.want {
			t.Errorf("%s: running %v, want %v", name, got, tt.want)
		}
	}
}

// A rollback brings back the template of a replay that has ended.
func TestPodOfAnEndedReplayIsNoPartOfIt(t *testing.T) {
	p := pods(t)
	p.Running = func(context.Context, stamp.Replay) bool { return false }
	req := create(t, pod(inReplay, replicaSet, "nodeName: worker"))
	resp := p.Handle(t.Context(), req)
	equal(t, req.Object.Raw, apply(t, req, resp))
}

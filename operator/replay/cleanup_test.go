package replay_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/cluster/annotation"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/operator/note"
)

func cleanupAll(r *v1.TrafficReplay) { r.Spec.Cleanup = v1.CleanupAll }

// hasCheckout says that there is a workload of this name, whoever made it.
func (w *world) hasCheckout() bool {
	w.t.Helper()
	return slices.Contains(names(list(w, &appsv1.DeploymentList{})), "checkout")
}

// makeAnew is what kubectl apply and Argo do to a workload that is gone.
func (w *world) makeAnew() {
	w.t.Helper()
	anew := checkout()
	anew.UID = "another-uid"
	w.must(w.c.Create(w.t.Context(), anew))
}

// TestManyPodsThatAreStillRouted: the API server takes events of so many bytes only, and
// the event says how all of the pods are found.
func TestManyPodsThatAreStillRouted(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(nil))
	w.cluster()
	w.until("finished", func() bool { return w.get().Status.FinishedTime != nil })
	for i := range 50 {
		w.must(w.c.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: fmt.Sprintf("web-of-the-paused-rollout-%d", i), Labels: map[string]string{annotation.ReplayID: uid, annotation.ReplayTarget: "0"},
		}}))
	}
	w.now = w.now.Add(2 * time.Minute)
	w.until("ended", w.ended)
	_, text, _ := strings.Cut(w.event("StillRouted"), "StillRouted ")
	if len(text) > note.Most || !strings.Contains(text, annotation.ReplayID+"="+uid) || !strings.Contains(text, "web-of-the-paused-rollout-0, ") {
		t.Errorf("%d bytes, which are %q", len(text), text)
	}
}

// TestWorkloadIsGivenBackOnceTheWebhookIsReached: the operator that gave it back at once had its new pods start without a
// sidecar, and rolled it out once more for that.
func TestWorkloadIsGivenBackOnceTheWebhookIsReached(t *testing.T) {
	for name, end := range map[string]func(*world){"by itself": func(*world) {}, "deleted": (*world).delete} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, checkout(), trafficReplay(nil))
			w.cluster()
			w.until("generating", w.in(v1.ReasonGenerating))
			end(w)
			for w.from = w.now.Add(15 * time.Second); w.now.Before(w.from); w.now = w.now.Add(time.Second) {
				if _, err := w.pass(); err != nil {
					t.Fatal(err)
				}
				w.cluster()
				d := &appsv1.Deployment{}
				w.must(w.c.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "checkout"}, d))
				if d.Spec.Template.Annotations[annotation.Replay] == "" {
					t.Fatalf("it was given back %v too early", w.from.Sub(w.now))
				}
			}
			w.until("over", func() bool { return w.get() == nil || w.ended() })
			w.nothingLeft()
		})
	}
}

func TestCleanupAllDeletesTheWorkload(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(cleanupAll))
	w.cluster()
	w.until("finished", func() bool { return w.get().Status.FinishedTime != nil })
	if w.hasCheckout() {
		t.Error("the workload is still there")
	}
}

// TestCleanupAllLeavesAWorkloadThatIsMadeAnew: kubectl wait --for condition=Ready, and
// kubectl apply of the workload after it.
func TestCleanupAllLeavesAWorkloadThatIsMadeAnew(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(cleanupAll))
	w.cluster()
	w.until("finished", func() bool { return w.get().Status.FinishedTime != nil })
	if w.ended() {
		t.Fatal("nothing is left to clean up")
	}
	w.makeAnew()
	w.until("ended", w.ended)
	if !w.hasCheckout() {
		t.Error("the workload that was made anew was deleted")
	}
}

// TestCleanupAllLeavesAWorkloadThatIsMadeAnewMeanwhile: the cloud makes the report some
// time after the workload was deleted.
func TestCleanupAllLeavesAWorkloadThatIsMadeAnewMeanwhile(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(cleanupAll))
	w.cluster()
	w.until("generating", w.in(v1.ReasonGenerating))
	w.cloud.down = true
	w.until("deleted", func() bool { return !w.hasCheckout() })
	w.makeAnew()
	for range 3 {
		if _, err := w.pass(); err != nil {
			t.Fatal(err)
		}
	}
	w.cloud.down = false
	w.endsWith(v1.ReasonTestSucceeded, "Passed")
}

// TestCleanupAllLeavesAWorkloadThatNothingWasDoneTo: the cloud was away when it was
// made, and knows no such snapshot.
func TestCleanupAllLeavesAWorkloadThatNothingWasDoneTo(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(cleanupAll))
	w.cloud.startErr = connect.NewError(connect.CodeNotFound, errors.New("there is no such snapshot"))
	w.cluster()
	w.endsWith(v1.ReasonError, "the cloud refuses the replay")
}

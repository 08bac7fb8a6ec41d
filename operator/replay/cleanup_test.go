package replay_test

import (
	"errors"
	"slices"
	"testing"

	"connectrpc.com/connect"
	appsv1 "k8s.io/api/apps/v1"

	v1 "github.com/speedscale/speedscale/cluster/api/v1"
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

package command

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/speedctl/term"
)

// TestFollowerTellsOfPhases: conditions are told until the cloud tells of phases,
// which say more of the same.
func TestFollowerTellsOfPhases(t *testing.T) {
	var out strings.Builder
	g := &global{World: &term.World{Err: &out, Getenv: func(string) string { return "" }}}
	f := follower{g: g, progress: g.StartProgress(""), warned: map[string]bool{}}
	defer f.progress.Stop()
	sink := f.sink()
	sink.Condition("Waiting", "for shop/cart-0")
	at := time.Date(2026, 11, 23, 12, 3, 4, 0, time.Local).UnixNano()
	sink.Event(&cloudv1.ReplayEvent{Time: at, Event: &cloudv1.ReplayEvent_Phase{Phase: &cloudv1.ReplayPhase{Name: "workload", State: "started", Text: "deployment cart", Pods: []string{"cart-1"}}}})
	sink.Condition("StartingWorkload", "the workloads get their routing")
	sink.Event(&cloudv1.ReplayEvent{Event: &cloudv1.ReplayEvent_ClusterEvent{ClusterEvent: &cloudv1.ClusterEvent{Type: "Warning", Reason: "BackOff", Object: "pod/cart-1", Message: "back-off"}}})
	sink.Event(&cloudv1.ReplayEvent{Event: &cloudv1.ReplayEvent_Progress{Progress: &cloudv1.ReplayProgress{Total: 100, Sent: 12, Passed: 11, Failed: 1, Rate: 50, P95: 7.5}}})
	got := out.String()
	for _, want := range []string{"Waiting: for shop/cart-0\n", "12:03:04  workload  started  deployment cart\n", "warning: pod/cart-1: BackOff: back-off\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "StartingWorkload") {
		t.Errorf("a condition is told beside its phase:\n%s", got)
	}
	if want := "12 of 100 requests, 11 passed, 1 differ, 0 errors; 50/s, p95 7.5ms"; f.sent != want {
		t.Errorf("progress is %q, want %q", f.sent, want)
	}
}

func TestEndingByConditions(t *testing.T) {
	for reason, code := range map[string]int{
		v1.ReasonTestSucceeded: term.ExitOK, v1.ReasonTestFailed: term.ExitMissedGoals, v1.ReasonCanceled: term.ExitCanceled, v1.ReasonError: term.ExitError,
	} {
		r := &v1.TrafficReplay{Status: v1.TrafficReplayStatus{Conditions: []metav1.Condition{{Type: v1.ConditionReady, Status: metav1.ConditionTrue, Reason: reason, Message: "as it was"}}}}
		if err := ending(r); term.CodeOf(err) != code || err != nil && !strings.Contains(err.Error(), "as it was") {
			t.Errorf("%s: %v, want code %d", reason, err, code)
		}
	}
}

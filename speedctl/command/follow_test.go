package command

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/api/v1/cloudv1connect"
	cloud "github.com/speedscale/speedscale/cloud/client"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/replay"
	"github.com/speedscale/speedscale/cluster/workload"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic/snapshot"
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

// silent is a cloud that has no events.
type silent struct {
	cloudv1connect.ReplayServiceClient
}

func (silent) Watch(context.Context, *cloudv1.WatchReplayRequest) (*connect.ServerStreamForClient[cloudv1.ReplayEvent], error) {
	return nil, connect.NewError(connect.CodePermissionDenied, errors.New("no events"))
}

// TestQueuedReplayIsFollowedToItsEnd: the timeout counts anew once the replay has its
// workloads, so that in all it may take twice as long.
func TestQueuedReplayIsFollowedToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &v1.TrafficReplay{
			TypeMeta:   metav1.TypeMeta{APIVersion: "speedscale.com/v1", Kind: "TrafficReplay"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart-2", UID: "the-uid"},
			Spec:       v1.TrafficReplaySpec{Mode: v1.ModeFullReplay, Timeout: &metav1.Duration{Duration: 20 * time.Minute}},
		}
		d := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{replay.Resource(): "TrafficReplayList"})
		store := func(write func(runtime.Object) error) {
			object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(r)
			if err == nil {
				err = write(&unstructured.Unstructured{Object: object})
			}
			if err != nil {
				t.Error(err)
			}
		}
		is := func(status metav1.ConditionStatus, reason, message string) {
			r.Status.SetCondition(metav1.Condition{Type: v1.ConditionReady, Status: status, Reason: reason, Message: message}, time.Now())
			store(func(o runtime.Object) error { return d.Tracker().Update(replay.Resource(), o, r.Namespace) })
		}
		store(func(o runtime.Object) error { return d.Tracker().Create(replay.Resource(), o, r.Namespace) })
		is(metav1.ConditionFalse, v1.ReasonWaiting, "for cart-1")
		time.AfterFunc(19*time.Minute, func() { is(metav1.ConditionFalse, v1.ReasonGenerating, "requests are sent") })
		time.AfterFunc(38*time.Minute, func() { is(metav1.ConditionTrue, v1.ReasonTestSucceeded, "Passed") })
		sink := replay.Sink{Condition: func(string, string) {}, Event: func(*cloudv1.ReplayEvent) {}, Lost: func(error) {}}
		cl := &client.Client{Client: &cloud.Client{Replays: silent{}}}
		ended, err := watch(t.Context(), &global{}, replay.Client{Dynamic: d}, cl, r.DeepCopy(), sink, func() {})
		if err != nil || !replay.Ended(ended) {
			t.Errorf("it is left in %q: %v", replay.Status(ended), err)
		}
	})
}

// TestAnnounceSaysWhatIsRestarted: with mode generator-only that is a workload only whose
// sidecar has to know of the replay.
func TestAnnounceSaysWhatIsRestarted(t *testing.T) {
	for mode, want := range map[v1.Mode]string{
		v1.ModeFullReplay:    "deployment shop/cart is restarted, is sent 10 recorded requests, and is restarted again to be as before\n",
		v1.ModeGeneratorOnly: "deployment shop/cart is restarted if its traffic is captured, is sent 10 recorded requests, and is then as before\n",
	} {
		var out strings.Builder
		g := &global{World: &term.World{Err: &out, Getenv: func(string) string { return "" }}}
		cart := replay.Target{Ref: workload.Ref{Kind: workload.Deployment, Namespace: "shop", Name: "cart"}, Tests: []string{"*"}, Requests: 10}
		announce(g, &snapshot.Meta{}, replay.Options{Mode: mode, Cleanup: v1.CleanupInventory}, []replay.Target{cart})
		if !strings.HasSuffix(out.String(), "  "+want) {
			t.Errorf("mode %s: said\n%swant\n%s", mode, out.String(), want)
		}
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

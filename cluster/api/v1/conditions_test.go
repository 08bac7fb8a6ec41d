package v1_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	v1 "github.com/speedscale/speedscale/cluster/api/v1"
)

func TestNewestTransitionStandsLast(t *testing.T) {
	var s v1.TrafficReplayStatus
	start := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	set := func(after time.Duration, kind string, status metav1.ConditionStatus, message string) bool {
		return s.SetCondition(metav1.Condition{Type: kind, Status: status, Reason: "R", Message: message}, start.Add(after))
	}
	set(0, v1.ConditionReady, metav1.ConditionFalse, "applied")
	set(time.Minute, v1.ConditionMocksReady, metav1.ConditionTrue, "mocks answer")
	if !set(2*time.Minute, v1.ConditionReady, metav1.ConditionFalse, "requests are sent") {
		t.Error("another message is no change")
	}
	if set(3*time.Minute, v1.ConditionReady, metav1.ConditionFalse, "requests are sent") {
		t.Error("the same condition is a change")
	}
	at := func(d time.Duration) metav1.Time { return metav1.NewTime(start.Add(d)) }
	want := []metav1.Condition{
		{Type: "Ready", Status: "False", Reason: "R", Message: "requests are sent", LastTransitionTime: at(0)},
		{Type: "MocksReady", Status: "True", Reason: "R", Message: "mocks answer", LastTransitionTime: at(time.Minute)},
	}
	if diff := cmp.Diff(want, s.Conditions); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	set(4*time.Minute, v1.ConditionReady, metav1.ConditionTrue, "Failed: Missed Goals")
	want = []metav1.Condition{want[1], {Type: "Ready", Status: "True", Reason: "R", Message: "Failed: Missed Goals", LastTransitionTime: at(4 * time.Minute)}}
	if diff := cmp.Diff(want, s.Conditions); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestScheme(t *testing.T) {
	s := runtime.NewScheme()
	if err := v1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"TrafficReplay", "TrafficReplayList"} {
		if !s.Recognizes(schema.GroupVersionKind{Group: "speedscale.com", Version: "v1", Kind: kind}) {
			t.Errorf("%s is not known", kind)
		}
	}
}

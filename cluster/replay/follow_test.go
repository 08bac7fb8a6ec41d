package replay_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
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
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/replay"
)

func one(conditions ...metav1.Condition) *v1.TrafficReplay {
	return &v1.TrafficReplay{
		TypeMeta:   metav1.TypeMeta{APIVersion: "speedscale.com/v1", Kind: "TrafficReplay"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart-1", UID: "the-uid"},
		Spec:       v1.TrafficReplaySpec{Mode: v1.ModeFullReplay},
		Status:     v1.TrafficReplayStatus{Conditions: conditions},
	}
}

func ready(status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: v1.ConditionReady, Status: status, Reason: reason, Message: message}
}

func api(t *testing.T, objects ...*v1.TrafficReplay) (replay.Client, *fake.FakeDynamicClient) {
	t.Helper()
	d := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{replay.Resource(): "TrafficReplayList"})
	for _, r := range objects {
		if err := d.Tracker().Create(replay.Resource(), untyped(t, r), r.Namespace); err != nil {
			t.Fatal(err)
		}
	}
	return replay.Client{Dynamic: d}, d
}

func untyped(t *testing.T, r *v1.TrafficReplay) *unstructured.Unstructured {
	t.Helper()
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(r)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: object}
}

// set stores a replay as the operator would.
func set(t *testing.T, d *fake.FakeDynamicClient, r *v1.TrafficReplay) {
	t.Helper()
	if err := d.Tracker().Update(replay.Resource(), untyped(t, r), r.Namespace); err != nil {
		t.Error(err)
	}
}

// cloud streams events: at first it does not know the replay, and then it breaks off
// after each event.
type cloud struct {
	cloudv1connect.UnimplementedReplayServiceHandler

	mu     sync.Mutex
	asked  int
	events []*cloudv1.ReplayEvent
	err    error
}

func (c *cloud) Watch(_ context.Context, r *cloudv1.WatchReplayRequest, s *connect.ServerStream[cloudv1.ReplayEvent]) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.err != nil {
		return c.err
	}
	if c.asked == 1 || r.GetId() != "the-uid" {
		return connect.NewError(connect.CodeNotFound, errors.New("no replay "+r.GetId()))
	}
	i := slices.IndexFunc(c.events, func(e *cloudv1.ReplayEvent) bool { return e.GetSequence() > r.GetAfter() })
	if i < 0 {
		return nil
	}
	if err := s.Send(c.events[i]); err != nil {
		return err
	}
	return connect.NewError(connect.CodeUnavailable, errors.New("broken off"))
}

func (c *cloud) client(t *testing.T) replay.Watcher {
	t.Helper()
	_, handler := cloudv1connect.NewReplayServiceHandler(c)
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return cloudv1connect.NewReplayServiceClient(http.DefaultClient, s.URL)
}

// record keeps what a sink is told.
type record struct{ lines []string }

func (r *record) sink() replay.Sink {
	return replay.Sink{
		Condition: func(reason, message string) { r.lines = append(r.lines, reason+": "+message) },
		Event: func(e *cloudv1.ReplayEvent) {
			if p := e.GetPhase(); p != nil {
				r.lines = append(r.lines, p.GetName()+" "+p.GetState())
			}
			if e.GetEnd() != nil {
				r.lines = append(r.lines, "end")
			}
		},
		Lost: func(err error) { r.lines = append(r.lines, "lost: "+err.Error()) },
	}
}

func phase(sequence uint64, name, state string) *cloudv1.ReplayEvent {
	return &cloudv1.ReplayEvent{Sequence: sequence, Event: &cloudv1.ReplayEvent_Phase{Phase: &cloudv1.ReplayPhase{Name: name, State: state}}}
}

func TestFollow(t *testing.T) {
	c, d := api(t, one())
	remote := &cloud{events: []*cloudv1.ReplayEvent{
		phase(1, "prepare", "started"), phase(4, "prepare", "done"), {Sequence: 5, Event: &cloudv1.ReplayEvent_End{End: &cloudv1.ReplayEnd{Status: "Passed"}}},
	}}
	var got record
	sink := got.sink()
	event := sink.Event
	sink.Event = func(e *cloudv1.ReplayEvent) {
		event(e)
		switch {
		case e.GetPhase().GetState() == "done":
			set(t, d, one(ready(metav1.ConditionFalse, "Generating", "requests are sent")))
		case e.GetEnd() != nil:
			set(t, d, one(ready(metav1.ConditionTrue, v1.ReasonTestSucceeded, "Passed")))
		}
	}
	r, err := replay.Follow(t.Context(), c, remote.client(t), one(), time.Minute, sink)
	if err != nil || replay.Verdict(r) != v1.ReasonTestSucceeded {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, want := range []string{"prepare started", "prepare done", "end", "TestSucceeded: Passed"} {
		if n := len(slices.DeleteFunc(slices.Clone(got.lines), func(l string) bool { return l != want })); n != 1 {
			t.Errorf("%q comes %d times in %q", want, n, got.lines)
		}
	}
}

func TestFollowEnds(t *testing.T) {
	responder := one(metav1.Condition{Type: v1.ConditionMocksReady, Status: metav1.ConditionTrue})
	responder.Spec.Mode = v1.ModeResponderOnly
	for name, c := range map[string]struct {
		object *v1.TrafficReplay
		cloud  *cloud
		limit  time.Duration
		want   string // of the error
		line   string
	}{
		"mocks are ready":       {responder, &cloud{}, time.Minute, "", ""},
		"deleted":               {nil, &cloud{}, time.Minute, "trafficreplay shop/cart-1 was deleted", ""},
		"too long":              {one(ready(metav1.ConditionFalse, "Waiting", "for shop/cart-0")), &cloud{}, 3 * time.Second, "has not ended after 3s", "Waiting: for shop/cart-0"},
		"the key may not watch": {one(ready(metav1.ConditionTrue, v1.ReasonError, "no snapshot")), &cloud{err: connect.NewError(connect.CodePermissionDenied, errors.New("scope read is missing"))}, time.Minute, "", "Error: no snapshot"},
	} {
		t.Run(name, func(t *testing.T) {
			var objects []*v1.TrafficReplay
			if c.object != nil {
				objects = append(objects, c.object)
			}
			client, _ := api(t, objects...)
			var got record
			_, err := replay.Follow(t.Context(), client, c.cloud.client(t), one(), c.limit, got.sink())
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if c.line != "" && !slices.Contains(got.lines, c.line) {
				t.Errorf("%q is not in %q", c.line, got.lines)
			}
		})
	}
}

// nobody never has events.
type nobody struct{}

func (nobody) Watch(context.Context, *cloudv1.WatchReplayRequest) (*connect.ServerStreamForClient[cloudv1.ReplayEvent], error) {
	return nil, connect.NewError(connect.CodeNotFound, errors.New("no such replay"))
}

func TestFollowWithoutAnOperator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := api(t, one())
		if _, err := replay.Follow(t.Context(), c, nobody{}, one(), time.Hour, new(record).sink()); !errors.Is(err, replay.ErrNotTakenUp) {
			t.Errorf("got %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Second, cancel)
		if _, err := replay.Follow(ctx, c, nobody{}, one(), time.Hour, new(record).sink()); !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
	})
}

func TestCreateListDelete(t *testing.T) {
	c, _ := api(t)
	planned, _, err := replay.Plan(shop(), options(replay.Options{Name: "mine"}))
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.Create(t.Context(), planned)
	if err != nil || made.Name != "mine" || made.Spec.SnapshotID != "s1" {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := c.Create(t.Context(), planned); err == nil || !strings.Contains(err.Error(), "trafficreplay shop/mine") {
		t.Errorf("made twice: %v", err)
	}
	if all, err := c.List(t.Context(), ""); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	if err := c.Delete(t.Context(), "shop", "mine"); err != nil {
		t.Error(err)
	}
	if err := replay.WaitGone(t.Context(), c, "shop", "mine", time.Minute); err != nil {
		t.Error(err)
	}
	if _, err := c.Get(t.Context(), "shop", "mine"); err == nil || !strings.Contains(err.Error(), "trafficreplay shop/mine") {
		t.Errorf("got %v", err)
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := api(t, one(ready(metav1.ConditionFalse, "Generating", "12 of 100 requests")))
		wait := func(condition string) (*v1.TrafficReplay, error) {
			return replay.Wait(t.Context(), c, "shop", "cart-1", condition, 10*time.Second)
		}
		if _, err := wait(v1.ConditionReady); err == nil || !strings.Contains(err.Error(), "is not Ready after 10s: 12 of 100 requests") {
			t.Errorf("not ready: %v", err)
		}
		if err := replay.WaitGone(t.Context(), c, "shop", "cart-1", 10*time.Second); err == nil || !strings.Contains(err.Error(), "not gone after 10s") {
			t.Errorf("not gone: %v", err)
		}
		time.AfterFunc(5*time.Second, func() { set(t, d, one(ready(metav1.ConditionTrue, v1.ReasonTestFailed, "Missed Goals"))) })
		if r, err := wait(v1.ConditionPassed); err != nil || replay.Verdict(r) != v1.ReasonTestFailed {
			t.Errorf("ended, not passed: %v", err)
		}
	})
}

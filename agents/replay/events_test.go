package replay_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/replay"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
)

// sink takes events, or not.
type sink struct {
	mu    sync.Mutex
	err   error
	got   []*cloudv1.ReplayEvent
	calls int
}

func (s *sink) publish(ctx context.Context, events []*cloudv1.ReplayEvent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.err != nil {
		return s.err
	}
	if size := proto.Size(&cloudv1.PublishRequest{Events: events}); len(events) > 1 && (len(events) > 100 || size > 3<<19) {
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("%d events of %d bytes at once", len(events), size))
	}
	s.got = append(s.got, events...)
	return ctx.Err()
}

func (s *sink) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// numbers are what the events that came say: n, or -1 for phases.
func (s *sink) numbers() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []int64
	for _, e := range s.got {
		n := e.GetProgress().GetSent()
		if e.GetPhase() != nil {
			n = -1
		}
		list = append(list, n)
	}
	return list
}

func progress(n int64) *cloudv1.ReplayEvent {
	return &cloudv1.ReplayEvent{Event: &cloudv1.ReplayEvent_Progress{Progress: &cloudv1.ReplayProgress{Sent: n}}}
}

func phase() *cloudv1.ReplayEvent {
	return &cloudv1.ReplayEvent{Event: &cloudv1.ReplayEvent_Phase{Phase: &cloudv1.ReplayPhase{Name: "generator"}}}
}

func newEvents(s *sink, registry prometheus.Registerer) *replay.Events {
	return replay.NewEvents(replay.EventsOptions{
		Publish: s.publish, Source: "generator-0", Registry: registry, Logger: slog.New(slog.DiscardHandler),
	})
}

func TestEventsKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		events := newEvents(s, nil)
		var want []int64
		for n := range int64(250) {
			want = append(want, n)
			events.Publish(progress(n))
		}
		synctest.Wait()
		if diff := cmp.Diff(want, s.numbers()); diff != "" {
			t.Errorf("without Close (-want +got):\n%s", diff)
		}
		events.Publish(progress(250))
		events.Close(t.Context())
		if diff := cmp.Diff(append(want, 250), s.numbers()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if e := s.got[0]; e.GetSource() != "generator-0" || e.GetTime() != time.Now().UnixNano() || events.Dropped() != 0 {
			t.Errorf("first event is %v; %d dropped", e, events.Dropped())
		}
		events.Publish(progress(251))
		if n := events.Dropped(); n != 1 {
			t.Errorf("%d dropped after the end, want 1", n)
		}
	})
}

// TestLongEvents: a batch is no longer than the cloud takes.
func TestLongEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		events := newEvents(s, nil)
		for range 120 {
			events.Publish(&cloudv1.ReplayEvent{Event: &cloudv1.ReplayEvent_Failed{Failed: &cloudv1.FailedPair{Failure: make([]byte, 90_000)}}})
		}
		events.Publish(&cloudv1.ReplayEvent{Event: &cloudv1.ReplayEvent_Failed{Failed: &cloudv1.FailedPair{Failure: make([]byte, 3<<20)}}})
		events.Close(t.Context())
		if n := len(s.numbers()); n != 121 || events.Dropped() != 0 || s.calls < 12 {
			t.Errorf("%d events came in %d calls, %d were dropped", n, s.calls, events.Dropped())
		}
	})
}

// TestEventsWhileTheCloudIsAway: phases and the newest of the others are kept, and
// what is not is counted.
func TestEventsWhileTheCloudIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{err: connect.NewError(connect.CodeUnavailable, errors.New("away"))}
		registry := prometheus.NewRegistry()
		events := newEvents(s, registry)
		events.Publish(progress(-2))
		synctest.Wait() // it is being sent, again and again
		events.Publish(phase())
		for n := range int64(2000) {
			events.Publish(progress(n))
		}
		time.Sleep(time.Minute)
		s.set(nil)
		time.Sleep(10 * time.Second)
		got := s.numbers()
		if len(got) != 1001 || got[0] != -2 || got[1] != -1 || got[2] != 1001 || got[1000] != 1999 {
			t.Errorf("%d events came: %v", len(got), got[:min(len(got), 5)])
		}
		if n := events.Dropped(); n != 1001 || dropped(t, registry, "away") != 1001 {
			t.Errorf("%d dropped, the metric says %v; want 1001", n, dropped(t, registry, "away"))
		}
		if s.calls > 60 {
			t.Errorf("the cloud was called %d times in a minute", s.calls)
		}
		events.Close(t.Context())
	})
}

func dropped(t *testing.T, registry *prometheus.Registry, reason string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "speedscale_replay_events_dropped_total" && m.GetLabel()[0].GetValue() == reason {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no metric with reason %q", reason)
	return 0
}

// TestEventsEndInTime: Close does not wait for a cloud that stays away longer than
// it may.
func TestEventsEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{err: connect.NewError(connect.CodeUnavailable, errors.New("away"))}
		events := newEvents(s, nil)
		for n := range int64(300) {
			events.Publish(progress(n))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begun := time.Now()
		events.Close(ctx)
		if d := time.Since(begun); d != 3*time.Second || events.Dropped() != 300 {
			t.Errorf("it took %v, and %d were dropped; want 3s and 300", d, events.Dropped())
		}
	})
}

// TestRefusedEvents: what the cloud will never take is dropped, and what follows is
// sent.
func TestRefusedEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{err: connect.NewError(connect.CodePermissionDenied, errors.New("no"))}
		registry := prometheus.NewRegistry()
		events := newEvents(s, registry)
		events.Publish(progress(1))
		synctest.Wait()
		s.set(nil)
		events.Publish(progress(2))
		events.Close(t.Context())
		if diff := cmp.Diff([]int64{2}, s.numbers()); diff != "" || dropped(t, registry, "refused") != 1 {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

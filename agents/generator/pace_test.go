package generator_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/agents/generator"
	"github.com/speedscale/speedscale/traffic"
)

// goWait is the Wait that follows a test's own time.
func goWait(ctx context.Context, until time.Time) error {
	select {
	case <-time.After(time.Until(until)):
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

const ms = time.Millisecond

func TestOpenModelSendsAtPlannedTimes(t *testing.T) {
	recorded := []*traffic.RRPair{get("/0", "a", 0), get("/1", "b", 100*ms), get("/2", "c", 400*ms)}
	tests := []struct {
		name string
		plan generator.Plan
		want []time.Duration
	}{
		{"as recorded", generator.Plan{}, []time.Duration{0, 100 * ms, 400 * ms}},
		{"twice as fast", generator.Plan{Speed: 2}, []time.Duration{0, 50 * ms, 200 * ms}},
		{"twice, with the mean gap between", generator.Plan{Speed: 1, Times: 2}, []time.Duration{0, 100 * ms, 400 * ms, 600 * ms, 700 * ms, 1000 * ms}},
		{"for a time", generator.Plan{Speed: 1, For: 650 * ms}, []time.Duration{0, 100 * ms, 400 * ms, 600 * ms}},
		{"constant rate", generator.Plan{Rate: 10, Times: 2}, []time.Duration{0, 100 * ms, 200 * ms, 300 * ms, 400 * ms, 500 * ms}},
		{"constant rate for a time", generator.Plan{Rate: 4, For: time.Second}, []time.Duration{0, 250 * ms, 500 * ms, 750 * ms}},
		// 0 to 8/s in 1 s are 4 requests, after sqrt(n)/2 seconds; then 2 at a steady 8/s.
		{"ramp", generator.Plan{Stages: []generator.Stage{{Rate: 8, For: time.Second}, {Rate: 8, For: 250 * ms}}},
			[]time.Duration{0, 500 * ms, 707 * ms, 866 * ms, 1000 * ms, 1125 * ms}},
		{"ramp down to nothing", generator.Plan{Stages: []generator.Stage{{Rate: 8, For: time.Second}, {Rate: 0, For: 250 * ms}}},
			[]time.Duration{0, 500 * ms, 707 * ms, 866 * ms, 1000 * ms}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newPipeServer(10 * ms)
				s, err := generator.Run(t.Context(), generator.Options{Actions: pairs(recorded...), Plan: tt.plan, Dial: server.dial, Wait: goWait})
				if err != nil {
					t.Fatal(err)
				}
				var got []time.Duration
				for i, a := range server.arrivals {
					got = append(got, a.at.Truncate(ms))
					if want := fmt.Sprintf("/%d", i%3); a.path != want {
						t.Errorf("request %d is for %s, want %s", i, a.path, want)
					}
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("arrivals (-want +got):\n%s", diff)
				}
				if s.Passed != int64(len(tt.want)) || s.LateStarts != 0 {
					t.Errorf("passed %d of %d, %d started late", s.Passed, len(tt.want), s.LateStarts)
				}
			})
		})
	}
}

func TestSessionsKeepTheirOrder(t *testing.T) {
	recorded := []*traffic.RRPair{
		get("/a1", "a", 0), get("/a2", "a", 100*ms), get("/b1", "b", 200*ms), get("/a3", "a", 300*ms), get("/b2", "b", 5*time.Second),
	}
	run := func(t *testing.T, unordered bool) (*pipeServer, *generator.Summary) {
		server := newPipeServer(time.Second)
		s, err := generator.Run(t.Context(), generator.Options{Actions: pairs(recorded...), Dial: server.dial, Wait: goWait, Unordered: unordered})
		if err != nil {
			t.Fatal(err)
		}
		return server, s
	}
	allow := cmp.AllowUnexported(arrival{})
	synctest.Test(t, func(t *testing.T) {
		server, s := run(t, false)
		want := []arrival{{"/a1", 0}, {"/b1", 200 * ms}, {"/a2", 1000 * ms}, {"/a3", 2000 * ms}, {"/b2", 5000 * ms}}
		if diff := cmp.Diff(want, server.arrivals, allow); diff != "" {
			t.Errorf("arrivals (-want +got):\n%s", diff)
		}
		if s.LateStarts != 0 {
			t.Errorf("%d started late: waiting for one's session is not the generator's lag", s.LateStarts)
		}
		// /a3 was due at 300 ms and answered at 3 s.
		if got := s.Latency.Max(); got < 2_690_000 || got > 2_710_000 {
			t.Errorf("longest latency from the planned time %d µs, want 2.7 s", got)
		}
		if got := s.Service.Max(); got < 990_000 || got > 1_010_000 {
			t.Errorf("longest latency from the send %d µs, want 1 s", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		server, _ := run(t, true)
		want := []arrival{{"/a1", 0}, {"/a2", 100 * ms}, {"/b1", 200 * ms}, {"/a3", 300 * ms}, {"/b2", 5000 * ms}}
		if diff := cmp.Diff(want, server.arrivals, allow); diff != "" {
			t.Errorf("unordered arrivals (-want +got):\n%s", diff)
		}
	})
}

// TestPassesAreIndependentSessions: a session of one pass does not wait for the
// same session of the pass before.
func TestPassesAreIndependentSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newPipeServer(time.Second)
		_, err := generator.Run(t.Context(), generator.Options{
			Actions: pairs(get("/", "a", 0)), Plan: generator.Plan{Rate: 10, Times: 3}, Dial: server.dial, Wait: goWait,
		})
		if err != nil {
			t.Fatal(err)
		}
		want := []arrival{{"/", 0}, {"/", 100 * ms}, {"/", 200 * ms}}
		if diff := cmp.Diff(want, server.arrivals, cmp.AllowUnexported(arrival{})); diff != "" {
			t.Errorf("arrivals (-want +got):\n%s", diff)
		}
	})
}

// TestLagIsCounted: one connection cannot send three requests at once.
func TestLagIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newPipeServer(100 * ms)
		s, err := generator.Run(t.Context(), generator.Options{
			Actions:     pairs(get("/0", "a", 0), get("/1", "b", 0), get("/2", "c", 0)),
			Concurrency: 1, Dial: server.dial, Wait: goWait,
		})
		if err != nil {
			t.Fatal(err)
		}
		if s.LateStarts != 2 || s.MaxStartLag != 200*ms || server.conns != 1 || s.Connections != 1 {
			t.Errorf("%d late starts, at most %v late, on %d connections; want 2, 200ms, 1", s.LateStarts, s.MaxStartLag, server.conns)
		}
		if s.Latency.Max() < 299_000 || s.Service.Max() > 101_000 {
			t.Errorf("latency at most %d µs from the planned time, %d µs from the send; want 300 ms, 100 ms", s.Latency.Max(), s.Service.Max())
		}
	})
}

func TestClosedModel(t *testing.T) {
	recorded := pairs(get("/0", "a", 0), get("/1", "b", time.Hour))
	synctest.Test(t, func(t *testing.T) {
		server := newPipeServer(10 * ms)
		start := time.Now()
		s, err := generator.Run(t.Context(), generator.Options{Actions: recorded, Plan: generator.Plan{VUs: 3, Times: 2}, Dial: server.dial})
		if err != nil {
			t.Fatal(err)
		}
		if s.Passed != 12 || server.conns != 3 || time.Since(start) != 40*ms {
			t.Errorf("passed %d on %d connections in %v; want 12 on 3 in 40ms", s.Passed, server.conns, time.Since(start))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		server := newPipeServer(10 * ms)
		s, err := generator.Run(t.Context(), generator.Options{Actions: recorded, Plan: generator.Plan{VUs: 1, For: 95 * ms}, Dial: server.dial})
		if err != nil || s.Passed != 10 {
			t.Errorf("passed %d, %v; want 10", s.Passed, err)
		}
	})
}

func TestTimeoutFreesTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newPipeServer(0)
		server.delay = func(path string) time.Duration {
			if path == "/slow" {
				return time.Minute
			}
			return 0
		}
		s, err := generator.Run(t.Context(), generator.Options{
			Actions: pairs(get("/slow", "a", 0), get("/next", "a", 100*ms)),
			Dial:    server.dial, Wait: goWait, Timeout: 2 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		if s.ErrorsBy[generator.ErrorTimeout] != 1 || s.Passed != 1 {
			t.Errorf("errors %v, passed %d; want 1 timeout, 1 passed", s.ErrorsBy, s.Passed)
		}
		want := []arrival{{"/slow", 0}, {"/next", 2 * time.Second}}
		if diff := cmp.Diff(want, server.arrivals, cmp.AllowUnexported(arrival{})); diff != "" {
			t.Errorf("arrivals (-want +got):\n%s", diff)
		}
		time.Sleep(time.Minute) // the server's goroutine ends
	})
}

func TestCancel(t *testing.T) {
	for name, plan := range map[string]generator.Plan{"open": {Rate: 10, Times: 1000}, "closed": {VUs: 5, Times: 1000}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newPipeServer(time.Minute)
				cause := fmt.Errorf("a pod without routing has appeared")
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(cause) })
				start := time.Now()
				s, err := generator.Run(ctx, generator.Options{
					Actions: pairs(get("/", "a", 0)), Plan: plan, Dial: server.dial, Wait: goWait, Timeout: time.Hour,
				})
				if !errors.Is(err, cause) || time.Since(start) != time.Second {
					t.Errorf("ended with %v after %v; want the cause after 1s", err, time.Since(start))
				}
				if s.Sent == 0 || s.ErrorsBy[generator.ErrorCanceled] != s.Sent {
					t.Errorf("of %d sent, errors are %v; want all canceled", s.Sent, s.ErrorsBy)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newPipeServer(0)
		var seen []generator.Progress
		_, err := generator.Run(t.Context(), generator.Options{
			Actions: pairs(get("/", "a", 0)), Plan: generator.Plan{Rate: 2, Times: 4}, Dial: server.dial, Wait: goWait,
			Progress: func(p generator.Progress) { seen = append(seen, p) },
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(seen); n < 2 || seen[n-1].Sent != 4 || seen[n-1].Total != 4 || seen[0].Sent >= 4 {
			t.Errorf("progress %+v; want one before the end and one with all 4", seen)
		}
	})
}

func TestBadPlans(t *testing.T) {
	for _, plan := range []generator.Plan{
		{Speed: 2, Rate: 3}, {Speed: -1}, {Rate: -1}, {VUs: -1}, {VUs: generator.MaxConcurrency + 1}, {Times: -1}, {For: -1},
		{Stages: []generator.Stage{{Rate: 1}}}, {Stages: []generator.Stage{{Rate: -1, For: 1}}},
	} {
		if _, err := generator.Run(t.Context(), generator.Options{Actions: pairs(get("/", "a", 0)), Plan: plan}); err == nil {
			t.Errorf("plan %+v was accepted", plan)
		}
	}
	if _, err := generator.Run(t.Context(), generator.Options{Actions: pairs()}); err == nil {
		t.Error("a replay of nothing was accepted")
	}
}

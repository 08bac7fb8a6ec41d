package generator_test

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/agents/generator"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/report"
)

// TestSharesAreTheWholePlan: several generators send what one would have sent, each
// request once and at its time, and all of a session in one pass from one of them.
func TestSharesAreTheWholePlan(t *testing.T) {
	var recorded []*traffic.RRPair
	for i := range 20 {
		recorded = append(recorded, get(fmt.Sprintf("/%02d", i), []string{"", "a", "b", "c"}[i%4], time.Duration(i)*70*ms))
	}
	cut := get("/cut", "", 0)
	cut.Http.Req.BodySize = 9
	recorded = append(recorded, cut)
	for name, plan := range map[string]generator.Plan{
		"as recorded":                         {},
		"some passes":                         {Speed: 3, Times: 7},
		"for a time":                          {Speed: 2, For: 5 * time.Second},
		"constant rate":                       {Rate: 50, Times: 3},
		"rate for a time":                     {Rate: 30, For: 4 * time.Second},
		"stages":                              {Stages: []generator.Stage{{Rate: 40, For: 2 * time.Second}, {Rate: 10, For: 3 * time.Second}}},
		"more generators than sessions, once": {Speed: 1, Times: 1},
	} {
		for _, count := range []int{1, 2, 3, 11} {
			t.Run(fmt.Sprintf("%s by %d", name, count), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					whole := share(t, recorded, plan, generator.Share{})
					var all []arrival
					sent, total, skipped := int64(0), int64(0), int64(0)
					sessions := map[string]int{} // by pass
					for i := range count {
						got := share(t, recorded, plan, generator.Share{Index: i, Count: count})
						all = append(all, got.arrivals...)
						sent, total, skipped = sent+got.sent, total+got.total, skipped+got.skipped
						if got.total >= 0 && got.total != got.sent {
							t.Errorf("generator %d announces %d requests and sends %d", i, got.total, got.sent)
						}
						for pass := range passesOf(got.arrivals, whole.arrivals, plan, recorded) {
							if other, ok := sessions[pass]; ok && other != i {
								t.Errorf("session %s is sent by generators %d and %d", pass, other, i)
							}
							sessions[pass] = i
						}
					}
					if diff := gocmp.Diff(sorted(whole.arrivals), sorted(all), gocmp.AllowUnexported(arrival{})); diff != "" {
						t.Errorf("arrivals (-one generator +all):\n%s", diff)
					}
					if sent != whole.sent || skipped != whole.skipped || whole.total >= 0 && total != whole.total {
						t.Errorf("together they sent %d, announced %d and skipped %d; want %d, %d and %d", sent, total, skipped, whole.sent, whole.total, whole.skipped)
					}
				})
			})
		}
	}
}

type shared struct {
	arrivals             []arrival
	sent, total, skipped int64
}

func share(t *testing.T, recorded []*traffic.RRPair, plan generator.Plan, s generator.Share) shared {
	t.Helper()
	server := newPipeServer(0)
	var last generator.Progress
	summary, err := generator.Run(t.Context(), generator.Options{
		Actions: pairs(recorded...), Plan: plan, Share: s, Dial: server.dial, Wait: goWait,
		Progress: func(p generator.Progress) { last = p },
	})
	if err != nil {
		t.Fatal(err)
	}
	return shared{server.arrivals, summary.Sent, last.Total, summary.SkippedBy[generator.SkipCut]}
}

func sorted(list []arrival) []arrival {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b arrival) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.path, b.path)) })
	return list
}

// passesOf names the sessions that arrivals belong to, with the pass: the n-th time
// that the whole plan sends a path is in pass n.
func passesOf(arrivals, whole []arrival, plan generator.Plan, recorded []*traffic.RRPair) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, a := range arrivals {
			pass := 0
			for _, w := range whole {
				if w.path == a.path && w.at < a.at {
					pass++
				}
			}
			for _, p := range recorded {
				if p.Location == a.path && p.Session != "" && !yield(fmt.Sprintf("%s of pass %d", p.Session, pass)) {
					return
				}
			}
		}
	}
}

func TestTargetsBySlice(t *testing.T) {
	other := get("/other", "", 50*ms)
	other.NetworkAddress, other.Service = "other.example.com:8080", "other"
	run := func(targets map[string]*url.URL, keys ...string) (map[string]bool, error) {
		addrs := map[string]bool{}
		_, err := generator.Run(t.Context(), generator.Options{
			Actions: pairs(get("/", "", 0), other), Targets: targets, Keys: keys, Dial: dialFunc(func(addr string) { addrs[addr] = true }),
			Concurrency: 1,
		})
		return addrs, err
	}
	shop, others := target(t, "http://new-shop:81"), target(t, "http://new-other:82")
	addrs, err := run(map[string]*url.URL{"shop:shop.example.com:8080": shop, "other.example": others})
	if want := map[string]bool{"new-shop:81": true, "new-other:82": true}; err != nil || !gocmp.Equal(want, addrs) {
		t.Errorf("dialled %v, %v; want %v", addrs, err, want)
	}
	if addrs, err = run(map[string]*url.URL{"*": shop}, "other:other.example.com:8080"); err != nil || !gocmp.Equal(addrs, map[string]bool{"new-shop:81": true}) {
		t.Errorf("one target for all: %v, %v", addrs, err)
	}
	for _, c := range []struct {
		targets map[string]*url.URL
		want    string
	}{
		{map[string]*url.URL{"shop:shop.example.com:8080": shop}, `slice "other:other.example.com:8080" has no target`},
		{map[string]*url.URL{"*": shop, "other:other.example.com:8080": others}, "has another one already"},
		{map[string]*url.URL{"none": shop}, `no slice key contains "none"`},
	} {
		if addrs, err := run(c.targets); err == nil || !strings.Contains(err.Error(), c.want) || len(addrs) > 0 {
			t.Errorf("%v: dialled %v, error %v; want none, and %q", c.targets, addrs, err, c.want)
		}
	}
}

// TestProgressIsOfTheInterval: percentiles and rate are those of the last second,
// not of the whole replay.
func TestProgressIsOfTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newPipeServer(0)
		server.delay = func(string) time.Duration {
			if time.Since(server.start) < 2*time.Second {
				return 100 * ms
			}
			return 400 * ms
		}
		var list []generator.Progress
		_, err := generator.Run(t.Context(), generator.Options{
			Actions: pairs(get("/", "", 0)), Plan: generator.Plan{Rate: 10, For: 5 * time.Second}, Dial: server.dial, Wait: goWait,
			Progress: func(p generator.Progress) { list = append(list, p) },
		})
		if err != nil {
			t.Fatal(err)
		}
		near := func(got, want time.Duration) bool { return got > want-want/50 && got < want+want/50 }
		if len(list) < 5 {
			t.Fatalf("%d progresses in 5 s", len(list))
		}
		if p := list[1]; !near(p.P50, 100*ms) || !near(p.P99, 100*ms) || p.Rate < 9 || p.Rate > 11 { // responses and progress come at the same moment
			t.Errorf("second 2: %+v", p)
		}
		if p := list[3]; !near(p.P50, 400*ms) || !near(p.P95, 400*ms) || p.Rate < 9 || p.Rate > 11 { // responses and progress come at the same moment
			t.Errorf("second 4: %+v", p)
		}
	})
}

// TestLoadingIsNotReplaying: a snapshot that takes long to load does not make the
// workload look slow.
func TestLoadingIsNotReplaying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := report.NewBuilder(nil, report.Options{})
		slow := func(yield func(*traffic.RRPair, error) bool) {
			time.Sleep(time.Minute)
			yield(get("/", "", 0), nil)
		}
		server := newPipeServer(0)
		_, err := generator.Run(t.Context(), generator.Options{
			Actions: slow, Plan: generator.Plan{Rate: 10, For: 10 * time.Second}, Dial: server.dial, Wait: goWait, Report: b,
		})
		if err != nil {
			t.Fatal(err)
		}
		if r := b.Finish(); r.Throughput.PerSecond < 9 || r.Throughput.PerSecond > 11 {
			t.Errorf("%v requests/s from %v to %v, want 10", r.Throughput.PerSecond, r.Started, r.Finished)
		}
	})
}

// TestWrongShare: a share that is not one is refused before anything is sent.
func TestWrongShare(t *testing.T) {
	for _, s := range []generator.Share{{Index: 1}, {Index: 2, Count: 2}, {Index: -1, Count: 2}, {Count: -1}} {
		_, err := generator.Run(context.Background(), generator.Options{
			Actions: pairs(get("/", "", 0)), Share: s, Observe: func(report.Result) { t.Error("sent") },
		})
		if err == nil || !strings.Contains(err.Error(), "share") {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

package replay

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/tui/style"
	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/report"
)

// start is when the replay of the tests begins, in a zone of its own.
func start() time.Time { return time.Date(2026, 11, 23, 12, 3, 0, 0, time.UTC) }

// told is a model that was told of a replay, at a size.
type told struct {
	t *testing.T
	m tea.Model
	// quit says that the screen has ended, and canceled that the replay was canceled.
	quit, canceled bool
	now            time.Time
}

func tell(t *testing.T, width, height int, colors bool) *told {
	r := &told{t: t, now: start()}
	o := Options{
		Theme: style.New(io.Discard, colors), Title: "web → shop/deployment/web",
		Phases: []string{"prepare", "responder", "workload", "generator", "report", "cleanup"}, Pods: true,
		Question: "Cancel the replay? The workloads become as before.", Source: "speedctl",
		Now: func() time.Time { return r.now }, cancel: func() { r.canceled = true }, leave: func() bool { return false },
	}
	r.m = newModel(o)
	r.send(tea.WindowSizeMsg{Width: width, Height: height})
	return r
}

func (r *told) send(messages ...tea.Msg) {
	for _, msg := range messages {
		m, cmd := r.m.Update(msg)
		r.m = m
		if cmd == nil {
			continue
		}
		if _, ticks := msg.(tickMsg); ticks {
			continue // would wait
		}
		if _, quit := cmd().(tea.QuitMsg); quit {
			r.quit = true
		}
	}
}

// keys presses keys, by the names that they have in Update; others are typed.
func (r *told) keys(names ...string) {
	special := map[string]tea.KeyType{
		"enter": tea.KeyEnter, "esc": tea.KeyEsc, "up": tea.KeyUp, "down": tea.KeyDown, "left": tea.KeyLeft, "right": tea.KeyRight,
		"tab": tea.KeyTab, "ctrl+c": tea.KeyCtrlC, "ctrl+u": tea.KeyCtrlU, "backspace": tea.KeyBackspace, "pgup": tea.KeyPgUp, "end": tea.KeyEnd, "home": tea.KeyHome,
	}
	for _, name := range names {
		if k, ok := special[name]; ok {
			r.send(tea.KeyMsg{Type: k})
			continue
		}
		for _, c := range name {
			r.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune{c}})
		}
	}
}

// event tells an event so many seconds after the start.
func (r *told) event(after int, e *cloudv1.ReplayEvent) {
	r.now = start().Add(time.Duration(after) * time.Second)
	e.Time = r.now.UnixNano()
	r.send(tickMsg(r.now), eventMsg{e})
}

func (r *told) phase(after int, name, state, text string, pods ...string) {
	r.event(after, &cloudv1.ReplayEvent{Source: "operator", Event: &cloudv1.ReplayEvent_Phase{Phase: &cloudv1.ReplayPhase{Name: name, State: state, Text: text, Pods: pods}}})
}

func (r *told) log(after int, pod, text string) {
	r.event(after, &cloudv1.ReplayEvent{Source: "collector", Event: &cloudv1.ReplayEvent_Log{Log: &cloudv1.LogLine{Pod: pod, Container: "web", Line: text}}})
}

func (r *told) progress(after int, p *cloudv1.ReplayProgress) {
	r.event(after, &cloudv1.ReplayEvent{Source: "generator-0", Event: &cloudv1.ReplayEvent_Progress{Progress: p}})
}

func (r *told) failed(after int, f report.Failure) {
	text, err := json.Marshal(f)
	if err != nil {
		r.t.Fatal(err)
	}
	r.event(after, &cloudv1.ReplayEvent{Source: "generator-0", Event: &cloudv1.ReplayEvent_Failed{Failed: &cloudv1.FailedPair{Method: f.Method, Path: f.Path, Failure: text}}})
}

const pod = "web-6d9f7c5b8d-x2x2x"

// prepared is a replay whose workload starts.
func (r *told) prepared() {
	r.phase(0, "prepare", "started", "the cloud is asked for snapshot and test config")
	r.phase(2, "prepare", "done", "")
	r.phase(2, "responder", "started", "1 pod is not ready yet", "speedscale-responder-brave-otter-0")
	r.phase(6, "responder", "done", "")
	r.phase(6, "workload", "started", "1 of 1 pods have no routing yet", pod)
	r.event(8, &cloudv1.ReplayEvent{Source: "collector", Event: &cloudv1.ReplayEvent_ClusterEvent{ClusterEvent: &cloudv1.ClusterEvent{Type: "Normal", Reason: "Pulled", Object: "Pod/" + pod, Message: `Container image "web:2" already present on machine`, Count: 1}}})
	r.event(12, &cloudv1.ReplayEvent{Source: "collector", Event: &cloudv1.ReplayEvent_ClusterEvent{ClusterEvent: &cloudv1.ClusterEvent{Type: "Warning", Reason: "Unhealthy", Object: "Pod/" + pod, Message: "Readiness probe failed: Get \"http://198.18.0.14:8080/ready\": dial tcp: connection refused", Count: 3}}})
	r.log(14, pod, "\x1b[32mINFO\x1b[0m listening on :8080")
}

// sending is a replay that has sent for half a minute.
func (r *told) sending() {
	r.prepared()
	r.phase(17, "workload", "done", "")
	r.phase(17, "generator", "started", "requests are sent", "speedscale-generator-brave-otter-x7x7x")
	for i := range 30 {
		sent := int64(40*i + 44)
		rate := 40 + 8*float64(i%5)
		r.progress(18+i, &cloudv1.ReplayProgress{Total: 3000, Sent: sent, Passed: sent - int64(i/2) - 2, Failed: int64(i / 2), Errors: 2, Rate: rate, P50: 3.2 + rate/40, P95: 12 + float64(i%7), P99: 40 + 4*float64(i)})
		r.log(18+i, pod, fmt.Sprintf("INFO GET /orders/%d 200 in %dms", i+1, 3+i%4))
	}
	r.event(47, &cloudv1.ReplayEvent{Source: "responder", Event: &cloudv1.ReplayEvent_Mocks{Mocks: &cloudv1.MockCounts{Requests: 2408, Matched: 2389, Missed: 19}}})
	for _, u := range []*cloudv1.PodUsage{{Pod: pod, Container: "web", CpuMillicores: 184, MemoryBytes: 91 << 20}, {Pod: pod, Container: "speedscale-goproxy", CpuMillicores: 32, MemoryBytes: 41 << 20}} {
		r.event(47, &cloudv1.ReplayEvent{Source: "collector", Event: &cloudv1.ReplayEvent_Usage{Usage: u}})
	}
	recorded := &report.Message{Status: 200, Headers: []string{"Content-Type: application/json", "Date: Mon, 23 Nov 2026 11:00:00 GMT"}, Body: `{"id":3,"items":[{"sku":"a-1","price":20},{"sku":"b-2","price":22}],"total":42,"currency":"EUR","note":"none"}`}
	observed := &report.Message{Status: 200, Headers: []string{"Content-Type: application/json", "Date: Mon, 23 Nov 2026 12:03:30 GMT"}, Body: `{"id":3,"items":[{"sku":"a-1","price":20},{"sku":"b-2","price":21.5}],"total":41.5,"currency":"EUR","discount":0.5}`}
	for range 5 {
		r.failed(47, report.Failure{
			Method: "GET", Path: "/orders/{id}", URL: "/orders/3?expand=items", At: start().Add(30 * time.Second), Recorded: recorded, Observed: observed,
			Differences: []compare.Difference{
				{Location: "http.res.body.items[1].price", Kind: compare.Changed, Recorded: "22", Observed: "21.5"},
				{Location: "http.res.body.total", Kind: compare.Changed, Recorded: "42", Observed: "41.5"},
				{Location: "http.res.body.note", Kind: compare.Removed, Recorded: `"none"`},
				{Location: "http.res.body.discount", Kind: compare.Added, Observed: "0.5"},
			},
		})
	}
	r.failed(47, report.Failure{Method: "POST", Path: "/orders", URL: "/orders", At: start().Add(40 * time.Second), Recorded: recorded, Error: "dial tcp 198.18.0.14:8080: connect: connection refused"})
}

// ended is a replay with a report.
func (r *told) ended(change func(*Outcome)) {
	r.sending()
	r.progress(60, &cloudv1.ReplayProgress{Total: 3000, Sent: 3000, Passed: 2983, Failed: 15, Errors: 2, Rate: 44, P50: 4, P95: 13, P99: 90})
	r.phase(60, "generator", "done", "")
	r.phase(60, "report", "started", "the report is being made")
	r.phase(62, "report", "done", "")
	r.phase(62, "cleanup", "started", "the workloads become as before")
	r.phase(70, "cleanup", "done", "")
	o := Outcome{Address: "https://speedscale-cloud.speedscale-cloud/reports/4d3f7a52-9a43-4d0c-b8f0-6f3b0e7f6a11", Report: &report.Report{
		Status: report.MissedGoals, Requests: report.Requests{Sent: 3000, Passed: 2983, Failed: 15, Errors: 2},
		Endpoints: []report.Endpoint{
			{Method: "GET", Path: "/orders/{id}", Requests: 1500, Failed: 15, First: &compare.Difference{Location: "http.res.body.items[1].price", Kind: compare.Changed, Recorded: "22", Observed: "21.5"}},
			{Method: "POST", Path: "/orders", Requests: 700, Errors: 2, Error: "dial tcp 198.18.0.14:8080: connect: connection refused"},
			{Method: "GET", Path: "/health", Requests: 800},
		},
		Goals: []report.GoalResult{
			{Goal: report.Goal{Metric: "latency.p95", Op: ">", Value: 100}, Actual: 18, Status: report.Pass},
			{Goal: report.Goal{Metric: "requests.failed", Op: ">", Value: 0}, Actual: 15, Status: report.Fail},
		},
	}}
	if change != nil {
		change(&o)
	}
	r.send(outcomeMsg(o))
}

// TestScreens compares each screen with what it was, at both sizes: -update writes it.
func TestScreens(t *testing.T) {
	screens := map[string]func(*told){
		"waiting":  func(r *told) { r.send(statusMsg("Waiting: for the replay shop/cart-0 of the same workload")) },
		"starting": func(r *told) { r.prepared() },
		"running":  func(r *told) { r.sending() },
		"paused": func(r *told) {
			r.sending()
			r.keys("p")
			r.progress(90, &cloudv1.ReplayProgress{Total: 3000, Sent: 2999})
			r.log(90, pod, "is not shown while the view is paused")
		},
		"pair": func(r *told) { r.sending(); r.keys("enter") },
		"pair-without-response": func(r *told) {
			r.sending()
			r.keys("down", "enter")
		},
		"log":    func(r *told) { r.sending(); r.keys("l") },
		"filter": func(r *told) { r.sending(); r.keys("l", "/", "orders/2") },
		"events": func(r *told) { r.sending(); r.keys("l", "tab", "tab", "w") },
		"cancel": func(r *told) { r.sending(); r.keys("c") },
		"canceled": func(r *told) {
			r.sending()
			r.keys("c", "y")
			r.send(outcomeMsg(Outcome{Canceled: true, Err: errors.New("the replay was cancelled; nothing of it is left")}))
		},
		"missed": func(r *told) { r.ended(nil) },
		"passed": func(r *told) {
			r.ended(func(o *Outcome) {
				o.Report.Status, o.Report.Requests, o.Report.Endpoints, o.Report.Goals = report.Passed, report.Requests{Sent: 3000, Passed: 3000}, nil, nil
				r.m.(Model).live.failures = nil
				r.m.(Model).live.progress["generator-0"] = &cloudv1.ReplayProgress{Total: 3000, Sent: 3000, Passed: 3000}
			})
		},
		"error": func(r *told) {
			r.prepared()
			r.phase(20, "workload", "failed", "")
			r.send(outcomeMsg(Outcome{Err: errors.New(`trafficreplay shop/web: Error: timeout of 10m0s: pod "web-6d9f7c5b8d-x2x2x": container "web" waits in CrashLoopBackOff: back-off 5m0s restarting failed container`)}))
		},
	}
	for name, steps := range screens {
		for _, size := range [][2]int{{80, 24}, {140, 40}} {
			file := fmt.Sprintf("%s-%dx%d.txt", name, size[0], size[1])
			t.Run(file, func(t *testing.T) {
				r := tell(t, size[0], size[1], false)
				steps(r)
				golden(t, file, r.m.View())
			})
		}
	}
	t.Run("colors", func(t *testing.T) {
		r := tell(t, 80, 24, true)
		r.sending()
		golden(t, "running-colors-80x24.txt", r.m.View())
	})
}

// golden compares a screen with a file of testdata, and wants each line to have its width.
func golden(t *testing.T, name, got string) {
	t.Helper()
	lines := strings.Split(got, "\n")
	for i, l := range lines {
		if style.Width(l) != style.Width(lines[0]) {
			t.Errorf("line %d is %d wide, and not %d: %q", i, style.Width(l), style.Width(lines[0]), l)
		}
		lines[i] = strings.TrimRight(l, " ")
	}
	got = strings.ReplaceAll(strings.Join(lines, "\n"), "\x1b", "␛") + "\n"
	file := filepath.Join("testdata", name)
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the screen is\n%s\nand was\n%s", got, want)
	}
}

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the screens to testdata")
	flag.Parse()
	os.Exit(m.Run())
}

package traffic_test

import (
	"bytes"
	"compress/gzip"
	"context"
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
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/speedscale/speedscale/speedctl/tui/style"
	tui "github.com/speedscale/speedscale/speedctl/tui/traffic"
	"github.com/speedscale/speedscale/traffic"
)

var update = flag.Bool("update", false, "write the golden files")

// screen is one that is told of traffic and of keys.
type screen struct {
	t     *testing.T
	model tea.Model
	quit  bool
	kept  []tui.Shown
	names []string
}

func newScreen(t *testing.T, width, height int, change func(*tui.Options)) *screen {
	t.Helper()
	s := &screen{t: t}
	keep := func(name string, what tui.Shown) (string, error) {
		s.kept, s.names = append(s.kept, what), append(s.names, name)
		if name == "taken" {
			return "", errors.New(`"taken" exists: choose another name`)
		}
		return "kept as " + name, nil
	}
	o := tui.Options{
		Theme: style.New(io.Discard, false), Title: "deployment shop/checkout", Live: true, Location: time.UTC, SaveFilter: keep,
		SaveSnapshot: func(_ context.Context, name string, what tui.Shown) (string, error) { return keep(name, what) },
	}
	if change != nil {
		change(&o)
	}
	m, err := tui.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	s.model = m
	s.send(tea.WindowSizeMsg{Width: width, Height: height})
	return s
}

func (s *screen) send(messages ...tea.Msg) {
	for _, msg := range messages {
		var cmd tea.Cmd
		s.model, cmd = s.model.Update(msg)
		s.run(cmd)
	}
}

// run does what a key asked for, at once.
func (s *screen) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case tea.QuitMsg:
		s.quit = true
	case tea.BatchMsg:
		for _, c := range msg {
			s.run(c)
		}
	default:
		s.send(msg)
	}
}

// keys presses keys by name; others are typed.
func (s *screen) keys(names ...string) {
	special := map[string]tea.KeyType{
		"enter": tea.KeyEnter, "esc": tea.KeyEsc, "up": tea.KeyUp, "down": tea.KeyDown, "left": tea.KeyLeft, "right": tea.KeyRight,
		"space": tea.KeySpace, "tab": tea.KeyTab, "home": tea.KeyHome, "end": tea.KeyEnd, "pgdown": tea.KeyPgDown, "ctrl+c": tea.KeyCtrlC,
	}
	for _, name := range names {
		if k, ok := special[name]; ok {
			s.send(tea.KeyMsg{Type: k, Runes: map[bool][]rune{true: {' '}}[k == tea.KeySpace]})
			continue
		}
		s.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(name)})
	}
}

// text is what is on the screen.
func (s *screen) text() string { return s.model.View() }

func (s *screen) sees(texts ...string) {
	s.t.Helper()
	for _, want := range texts {
		if !strings.Contains(s.text(), want) {
			s.t.Fatalf("%q is not on the screen:\n%s", want, s.text())
		}
	}
}

// golden compares the screen, each line of which has the width of the terminal.
func (s *screen) golden(name string, width, height int) {
	s.t.Helper()
	lines := strings.Split(s.text(), "\n")
	if len(lines) != height {
		s.t.Errorf("%s: %d lines, want %d", name, len(lines), height)
	}
	for i, l := range lines {
		if style.Width(l) != width {
			s.t.Errorf("%s: line %d is %d wide, want %d: %q", name, i+1, style.Width(l), width, l)
		}
		lines[i] = strings.TrimRight(l, " ")
	}
	got := strings.Join(lines, "\n") + "\n"
	file := filepath.Join("testdata", fmt.Sprintf("%s-%dx%d.txt", name, width, height))
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			s.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	if got != string(want) {
		s.t.Errorf("%s differs; go test -update writes it anew.\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

// pair is one of the story, its number of milliseconds after noon.
func pair(n int, in bool, address, command, location, status string, change func(*traffic.RRPair)) *traffic.RRPair {
	p := &traffic.RRPair{
		Uuid: append(make([]byte, 14), byte(n>>8), byte(n)), Ts: time.Date(2026, 11, 23, 12, 0, 0, n*1e6, time.UTC).UnixNano(),
		Duration: int64(1_234_567 + n*10_000), Direction: traffic.Direction_DIRECTION_OUT, Cluster: "e2e", Namespace: "shop", Service: "checkout",
		L7Protocol: "http", Tech: "JSON", Command: command, Location: location, Status: status, NetworkAddress: address, MaskKeyId: "k1",
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{
				Method: command, Url: "http://" + address + location, Uri: location, Version: "1.1", Host: address,
				Headers: []*traffic.Header{{Name: "Host", Value: address}, {Name: "Accept", Value: "application/json"}},
			},
			Res: &traffic.HTTPResponse{
				Version: "1.1", StatusMessage: "OK", ContentType: "application/json",
				Headers: []*traffic.Header{{Name: "Content-Type", Value: "application/json"}},
			},
		},
	}
	fmt.Sscan(status, &p.Http.Res.StatusCode)
	if in {
		p.Direction = traffic.Direction_DIRECTION_IN
	}
	if change != nil {
		change(p)
	}
	return p
}

func withBodies(request, response string) func(*traffic.RRPair) {
	return func(p *traffic.RRPair) {
		p.Http.Req.Body, p.Http.Req.BodySize = []byte(request), int64(len(request))
		p.Http.Res.Body, p.Http.Res.BodySize = []byte(response), int64(len(response))
	}
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, text)
	w.Close()
	return b.String()
}

// reserve is a gRPC message with text, a number and a message in it.
func reserve() string {
	inner := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "warehouse-2")
	inner = protowire.AppendVarint(protowire.AppendTag(inner, 2, protowire.VarintType), 42)
	m := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "tea-01")
	m = protowire.AppendVarint(protowire.AppendTag(m, 2, protowire.VarintType), 3)
	m = protowire.AppendBytes(protowire.AppendTag(m, 3, protowire.BytesType), inner)
	return string([]byte{0, 0, 0, 0, byte(len(m))}) + string(m)
}

// story is the traffic of an order, with one of each kind of body.
func story() []*traffic.RRPair {
	return []*traffic.RRPair{
		pair(1, true, "checkout:8080", "POST", "/orders", "201", withBodies(`{"sku":"tea-01","quantity":3,"card":"REDACTED-CREDIT_CARD-8c10","note":"naïve 日本 \u001b[31m"}`,
			`{"id":"o-1001","total":{"amount":2970,"currency":"EUR"},"lines":[{"sku":"tea-01","quantity":3}]}`)),
		pair(12, false, "inventory:9090", "POST", "/shop.Inventory/Reserve", "0", func(p *traffic.RRPair) {
			withBodies(reserve(), reserve())(p)
			p.L7Protocol, p.Http.Res.StatusCode = "grpc", 200
			p.Http.Req.Headers = []*traffic.Header{{Name: "content-type", Value: "application/grpc"}}
			p.Http.Res.Trailers = []*traffic.Header{{Name: "grpc-status", Value: "0"}}
		}),
		pair(25, false, "payments.example:443", "POST", "/charges", "402", func(p *traffic.RRPair) {
			withBodies("amount=2970&currency=EUR&note=two%20words", gzipped("card declined\nask for another one\n"))(p)
			p.Http.Req.Headers = []*traffic.Header{{Name: "Content-Type", Value: "application/x-www-form-urlencoded"}}
			p.Http.Res.Headers = []*traffic.Header{{Name: "Content-Type", Value: "text/plain"}, {Name: "Content-Encoding", Value: "gzip"}}
		}),
		pair(40, true, "checkout:8080", "GET", "/orders/1001?full=1", "500", nil),
		pair(41, true, "checkout:8080", "GET", "/logo.png", "200", func(p *traffic.RRPair) {
			withBodies("", "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x10")(p)
			p.Http.Res.BodySize = 70_000
			p.Http.Res.Headers = []*traffic.Header{{Name: "Content-Type", Value: "image/png"}}
		}),
	}
}

func sizes(t *testing.T, do func(t *testing.T, width, height int)) {
	for _, s := range [][2]int{{80, 24}, {140, 40}} {
		t.Run(fmt.Sprintf("%dx%d", s[0], s[1]), func(t *testing.T) { do(t, s[0], s[1]) })
	}
}

// TestScreens: every screen, at both sizes.
func TestScreens(t *testing.T) {
	for name, play := range map[string]func(*screen){
		"starting": func(*screen) {},
		"live":     live,
		"waiting": func(s *screen) {
			s.send(tui.Arrived{Live: true, Waiting: "nothing is captured on this machine: speedctl capture does"})
		},
		"ended": func(s *screen) {
			live(s)
			s.send(tui.Failed{Err: errors.New("the API key has no scope read")})
		},
		"held": func(s *screen) {
			live(s)
			s.keys("up", "up")
			s.send(tui.Arrived{Pairs: []*traffic.RRPair{pair(90, true, "checkout:8080", "GET", "/orders/1002", "200", nil)}, Live: true, Skipped: 1234})
		},
		"filter-typed":    func(s *screen) { live(s); s.keys(`/status IS "500" OR direction IS "ou`) },
		"filter-complete": func(s *screen) { live(s); s.keys(`/loc`) },
		"filtered":        func(s *screen) { live(s); s.keys(`/direction IS "out"`, "enter") },
		"no-match":        func(s *screen) { live(s); s.keys(`/status IS "418"`, "enter") },
		"pair-json":       func(s *screen) { live(s); s.keys("home", "enter") },
		"pair-grpc":       func(s *screen) { live(s); s.keys("home", "down", "enter") },
		"pair-form":       func(s *screen) { live(s); s.keys("home", "enter", "right", "right") },
		"pair-binary":     func(s *screen) { live(s); s.keys("enter") },
		"map":             func(s *screen) { live(s); s.keys("m", "down") },
		"help":            func(s *screen) { s.keys("?") },
		"save-snapshot":   func(s *screen) { live(s); s.keys("scheckout-1") },
		"saved":           func(s *screen) { live(s); s.keys("scheckout-1", "enter") },
		"not-saved":       func(s *screen) { live(s); s.keys("ftaken", "enter") },
	} {
		t.Run(name, func(t *testing.T) {
			sizes(t, func(t *testing.T, width, height int) {
				s := newScreen(t, width, height, nil)
				play(s)
				s.golden(name, width, height)
			})
		})
	}
}

// live has the story arrive.
func live(s *screen) { s.send(tui.Arrived{Pairs: story(), Live: true}) }

// TestGoldenColors has one size: what is coloured is the same at the other.
func TestGoldenColors(t *testing.T) {
	s := newScreen(t, 80, 24, func(o *tui.Options) { o.Theme = style.New(io.Discard, true) })
	live(s)
	s.keys("m", "esc", "up", "up", "up")
	s.golden("live-colors", 80, 24)
}

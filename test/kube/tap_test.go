package kube

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// tap watches an app's traffic while requests are sent: line by line, and on a screen.
func tap(c *cluster) {
	c.apply("tap", "tap.yaml")
	c.rollout("tap", "deployment/watched")
	out, err := c.try(speedctl, "tap", "deployment/watched", "-n", "tap", "--no-tui")
	if err == nil || !strings.Contains(out, "nothing is captured of deployment tap/watched") || !strings.Contains(out, "speedctl inject deployment/watched -n tap") {
		c.Errorf("of an app that is not captured: %v\n%s", err, out)
	}
	if out, err = c.try(speedctl, "tap", "deployment/nowhere", "-n", "tap", "--no-tui"); err == nil || !strings.Contains(out, `"nowhere" not found`) {
		c.Errorf("of an app that is not there: %v\n%s", err, out)
	}
	c.speedctl("inject", "deployment/watched", "-n", "tap", "--capture-node-traffic")
	stop := c.requests("http://" + c.clusterIP("tap", "watched"))
	defer stop()
	c.tapLines()
	c.tapScreen()
}

// requests sends numbered requests until it is stopped, four in a second.
func (c *cluster) requests(url string) (stop func()) {
	c.Helper()
	ctx, cancel := context.WithCancel(c.Context())
	done := make(chan struct{})
	var refused atomic.Int64
	go func() {
		defer close(done)
		for i := 1; ctx.Err() == nil; i++ {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/items/%d", url, i), nil)
			if err != nil {
				return
			}
			if res, err := http.DefaultClient.Do(r); err == nil {
				res.Body.Close()
			} else if ctx.Err() == nil {
				refused.Add(1)
			}
			select {
			case <-time.After(250 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	return func() {
		cancel()
		<-done
		if n := refused.Load(); n > 0 { // the pods before were still ending
			c.Logf("%d requests were not answered", n)
		}
	}
}

// tapLines: pairs come while the command runs, soon, each once.
func (c *cluster) tapLines() {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, speedctl, "tap", "deployment/watched", "-n", "tap", "--start", "0s", "--limit", "20", "-o", "json")
	cmd.Env, cmd.Stderr = c.env, os.Stderr
	lines, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		c.Fatal(err)
	}
	var late time.Duration
	seen := map[string]bool{}
	for scan := bufio.NewScanner(lines); scan.Scan(); {
		list, err := records(scan.Text())
		if err != nil {
			c.Fatal(err)
		}
		r := list[0]
		if r.Namespace != "tap" || r.Service != "watched" || !strings.HasPrefix(r.Location, "/items/") || seen[r.Location] {
			c.Errorf("a pair is %+v, or came twice", r)
		}
		seen[r.Location] = true
		if ts, err := time.Parse(time.RFC3339Nano, r.TS); err == nil {
			late = max(late, time.Since(ts))
		} else {
			c.Error(err)
		}
	}
	if err := cmd.Wait(); err != nil || len(seen) != 20 {
		c.Fatalf("%d pairs, %v", len(seen), err)
	}
	c.Logf("20 pairs were seen, each within %v of its request", late.Round(10*time.Millisecond))
	if late > 45*time.Second {
		c.Errorf("a pair was seen %v after its request", late)
	}
}

// tapScreen filters by typing, opens a pair, and saves a snapshot.
func (c *cluster) tapScreen() {
	c.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		c.Log("SKIPPED: no tmux, on which the screen is tested")
		return
	}
	folder := c.TempDir()
	env := append(slices.Clone(c.env), "TMUX_TMPDIR="+folder, "LC_ALL=C.UTF-8", "NO_COLOR=1")
	tmux := func(args ...string) string {
		cmd := exec.CommandContext(c.Context(), "tmux", args...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if err != nil {
			c.Fatalf("tmux %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	program, err := filepath.Abs(speedctl)
	if err != nil {
		c.Fatal(err)
	}
	tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", program+" tap deployment/watched -n tap; echo exit code $?; sleep 600")
	defer tmux("kill-server")
	sees := func(texts ...string) {
		c.Helper()
		for _, text := range texts {
			screen := ""
			c.eventually(fmt.Sprintf("%q is not on the screen", text), func() bool {
				screen = tmux("capture-pane", "-p")
				return strings.Contains(screen, text)
			})
		}
	}
	sees("deployment tap/watched", "● live", "GET /items/")
	tmux("send-keys", "/", `location REGEX "/items/[0-9]*[05]$`)
	sees("has no end")
	tmux("send-keys", `"`)
	sees("5\n")
	tmux("send-keys", "Enter", "Enter")
	sees("─ GET /items/", "─ Response")
	tmux("send-keys", "q", "s")
	sees("name of the snapshot")
	tmux("send-keys", "tapped", "Enter")
	sees(`snapshot "tapped" is `)
	tmux("send-keys", "q")
	sees("exit code 0")
	list, err := records(c.speedctl("tap", "--snapshot", "tapped", "--service", "watched", "-o", "json", "-q"))
	if err != nil || len(list) == 0 {
		c.Fatalf("the snapshot has %d pairs, %v", len(list), err)
	}
	for _, r := range list {
		if !strings.HasSuffix(r.Location, "0") && !strings.HasSuffix(r.Location, "5") {
			c.Errorf("the snapshot has %+v, which was not shown", r)
		}
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ticksPerSecond is the unit of /proc/PID/stat, USER_HZ, which is 100 on every
// Linux that Go runs on (proc(5)).
const ticksPerSecond = 100

// process is a program that the bench started, with all of its children.
type process struct {
	cmd    *exec.Cmd
	stderr limited
	done   chan struct{}
}

// start runs a program until stop; env is added to ours.
func start(ctx context.Context, env []string, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, name, args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = &p.stderr
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 10 * time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// stop ends the program, and kills it when it does not end in time.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		p.cmd.Process.Kill()
		<-p.done
	}
}

// listening waits until something accepts connections on addr.
func (p *process) listening(addr string) error {
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		if c, err := net.Dial("tcp", addr); err == nil {
			return c.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %s", p.cmd.Path, strings.TrimSpace(p.stderr.String()))
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s does not listen on %s: %s", p.cmd.Path, addr, strings.TrimSpace(p.stderr.String()))
}

// cpu is what the program and its children have used so far, user and system.
func (p *process) cpu() time.Duration {
	var ticks int64
	for _, pid := range family(p.cmd.Process.Pid) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // It has just ended.
		}
		// The second field is the name in brackets, which may hold spaces.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		for _, i := range []int{11, 12} { // utime and stime
			n, _ := strconv.ParseInt(fields[i], 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond
}

// rss is the resident memory of the program and its children, in MiB; peak
// gives the highest it was.
func (p *process) rss() float64  { return p.status("VmRSS:") }
func (p *process) peak() float64 { return p.status("VmHWM:") }

func (p *process) status(key string) float64 {
	var kib float64
	for _, pid := range family(p.cmd.Process.Pid) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == key {
				n, _ := strconv.ParseFloat(f[1], 64)
				kib += n
			}
		}
	}
	return kib / 1024
}

// giveWay lets everything else go before the program, as if it ran elsewhere
// (SCHED_IDLE, sched(7)). What it starts later does so too.
func (p *process) giveWay() error {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", p.cmd.Process.Pid))
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(filepath.Base(t))
		if err != nil {
			return err
		}
		err = unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
		if err != nil && !errors.Is(err, unix.ESRCH) { // the thread has ended
			return fmt.Errorf("priority of %s: %w", p.cmd.Path, err)
		}
	}
	return nil
}

// family returns a process and all below it.
func family(pid int) []int {
	pids := []int{pid}
	for i := 0; i < len(pids); i++ {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[i]))
		for _, t := range tasks {
			b, err := os.ReadFile(t)
			if err != nil {
				continue
			}
			for _, f := range strings.Fields(string(b)) {
				if n, err := strconv.Atoi(f); err == nil && !slices.Contains(pids, n) {
					pids = append(pids, n)
				}
			}
		}
	}
	return pids
}

// limited keeps the first bytes that are written to it.
type limited struct {
	mu sync.Mutex
	b  []byte
}

func (l *limited) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if room := 64<<10 - len(l.b); room > 0 {
		l.b = append(l.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// String is what was written so far.
func (l *limited) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}

// port returns a loopback address that was free a moment ago.
func port() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err) // a machine without loopback measures nothing
	}
	defer l.Close()
	return l.Addr().String()
}

// load is what wrk saw.
type load struct {
	requests int64
	perSec   float64
	cpu      time.Duration // wrk's own
}

// wrk loads url over so many connections.
func wrk(ctx context.Context, connections int, length time.Duration, url string, extra ...string) (load, error) {
	args := append([]string{"-t1", "-c" + strconv.Itoa(connections), fmt.Sprintf("-d%ds", int(length.Seconds()))}, append(extra, url)...)
	cmd := exec.CommandContext(ctx, "wrk", args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("wrk: %w: %s", err, bytes.TrimSpace(out))
	}
	l := load{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		switch {
		case len(f) > 4 && f[1] == "requests" && f[2] == "in":
			l.requests, _ = strconv.ParseInt(f[0], 10, 64)
		case len(f) == 2 && f[0] == "Requests/sec:":
			l.perSec, _ = strconv.ParseFloat(f[1], 64)
		case strings.Contains(line, "Non-2xx") || strings.Contains(line, "Socket errors"):
			return l, fmt.Errorf("wrk: %s", strings.TrimSpace(line))
		}
	}
	if l.requests == 0 {
		return l, errors.New("wrk made no request: " + string(out))
	}
	return l, nil
}

// perRequest runs wrk and returns the CPU that p used for each request, in µs.
func perRequest(ctx context.Context, p *process, connections int, length time.Duration, url string, extra ...string) (micros float64, l load, err error) {
	before := p.cpu()
	l, err = wrk(ctx, connections, length, url, extra...)
	if err != nil {
		return 0, l, err
	}
	return float64((p.cpu() - before).Microseconds()) / float64(l.requests), l, nil
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

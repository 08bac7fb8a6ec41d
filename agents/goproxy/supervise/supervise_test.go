package supervise_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/speedscale/speedscale/agents/goproxy/supervise"
)

// TestMain is the child too: it answers each connection with a line about itself.
func TestMain(m *testing.M) {
	child, err := supervise.Inherited()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if child == nil {
		os.Exit(m.Run())
	}
	if os.Getenv("FAIL_AT_START") != "" {
		os.Exit(7)
	}
	ctx, stop := signal.NotifyContext(child.Context(context.Background()), syscall.SIGTERM)
	defer stop()
	l := child.Listeners["in"]
	context.AfterFunc(ctx, func() { l.Close() })
	child.Ready()
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(0)
		}
		json.NewEncoder(c).Encode(about{os.Getpid(), child.Deaths, child.Degraded, child.Died})
		c.Close()
	}
}

type about struct {
	PID, Deaths int
	Degraded    bool
	Died        []supervise.Life
}

// ask connects and reads what the child says. It is never refused.
func ask(t *testing.T, addr net.Addr) about {
	t.Helper()
	for {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatalf("a connection was refused: %v", err)
		}
		c.SetDeadline(time.Now().Add(5 * time.Second))
		var a about
		err = json.NewDecoder(c).Decode(&a)
		c.Close()
		if err == nil {
			return a
		}
		// The connection was accepted by a child that died.
	}
}

func run(t *testing.T, env ...string) (addr net.Addr, done chan error, end func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done = make(chan error, 1)
	go func() {
		done <- supervise.Run(ctx, supervise.Options{
			Command: []string{os.Args[0]}, Env: append(os.Environ(), env...),
			Listeners: map[string]net.Listener{"in": l}, StopTimeout: time.Second,
			Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		})
	}()
	end = func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(10 * time.Second):
			return fmt.Errorf("the supervisor did not end")
		}
	}
	t.Cleanup(func() { cancel(); l.Close() })
	return l.Addr(), done, end
}

// TestKilledChildIsBackAtOnce: without a pause. make bench has how long that takes.
func TestKilledChildIsBackAtOnce(t *testing.T) {
	addr, _, end := run(t)
	first := ask(t, addr)
	best := time.Hour
	for deaths := 1; deaths <= 2; deaths++ {
		syscall.Kill(first.PID, syscall.SIGKILL)
		start := time.Now()
		next := ask(t, addr)
		took := time.Since(start)
		t.Logf("back after %v", took)
		best = min(best, took)
		if next.PID == first.PID || next.Deaths != deaths || next.Degraded {
			t.Fatalf("after death %d the child is %+v", deaths, next)
		}
		first = next
	}
	if best > time.Second {
		t.Errorf("the quickest restart took %v", best)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

func TestThreeDeathsInAMinuteDegrade(t *testing.T) {
	addr, _, end := run(t)
	for deaths := range 3 {
		a := ask(t, addr)
		if a.Degraded {
			t.Fatalf("degraded after %d deaths", deaths)
		}
		syscall.Kill(a.PID, syscall.SIGKILL)
		for ask(t, addr).PID == a.PID {
			time.Sleep(time.Millisecond)
		}
	}
	a := ask(t, addr)
	if !a.Degraded || a.Deaths != 3 || len(a.Died) != 3 {
		t.Fatalf("after three deaths the child is %+v", a)
	}
	for i, d := range a.Died {
		if !d.From.Before(d.To) || i > 0 && d.From.Before(a.Died[i-1].To) {
			t.Errorf("the lives of the dead are %v", a.Died)
		}
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

func TestChildThatNeverServedIsNotRestarted(t *testing.T) {
	_, done, _ := run(t, "FAIL_AT_START=1")
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "exit status 7") {
			t.Errorf("error is %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the supervisor goes on")
	}
}

// Package supervise keeps a child process serving on listeners that it holds
// itself: when the child dies, connections wait in the kernel's queue until the
// next child accepts them. A child that dies again and again is told to do less.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// When a child is told to do less, and how fast it is started again after that.
const (
	maxDeaths   = 3
	deathWindow = time.Minute
	slowRestart = time.Second
	// maxDied bounds how many deaths a child is told of.
	maxDied = 16
	// stopGrace is what a child gets beyond its own drain time-out.
	stopGrace = 5 * time.Second
)

// Options of a supervisor.
type Options struct {
	// Command is the child's program with its arguments.
	Command []string
	// Env is the child's environment.
	Env []string
	// Listeners are handed to the child by their name.
	Listeners map[string]net.Listener
	// StopTimeout is how long a child may take to drain after it is told to end.
	StopTimeout time.Duration
	Logger      *slog.Logger
}

// death of a child that was not asked to end.
type death struct {
	err   error
	ready bool // it had been serving
}

// Run starts the child and starts it again whenever it dies, until the context
// ends; then it asks the child to end (SIGTERM) and waits for it. It returns an
// error when a first child dies before it served: starting it again would not help.
func Run(ctx context.Context, o Options) error {
	files, names, err := inherit(o.Listeners)
	if err != nil {
		return err
	}
	defer closeAll(files)
	var deaths []time.Time
	var died []Life
	total, served, degraded := 0, false, false
	for {
		state := childState{Listeners: names, Deaths: total, Died: died, Degraded: degraded}
		began := time.Now()
		d, err := runChild(ctx, o, files, state)
		switch {
		case err != nil:
			return err
		case d == nil:
			return nil // it ended because it was asked to
		case !served && !d.ready:
			return fmt.Errorf("relay ended before it served: %w", d.err)
		}
		served = true
		total++
		now := time.Now()
		deaths = recent(append(deaths, now), now)
		died = append(died, Life{began, now})
		died = died[max(0, len(died)-maxDied):]
		o.Logger.Error("relay died; starting another", "error", d.err, "deaths", total)
		if len(deaths) >= maxDeaths && !degraded {
			degraded = true
			o.Logger.Error("relay died repeatedly: from now on connections are relayed without capture", "deaths", len(deaths), "within", deathWindow.String())
		}
		if len(deaths) > maxDeaths || !d.ready {
			select {
			case <-time.After(slowRestart):
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// recent drops the deaths that are no longer counted.
func recent(deaths []time.Time, now time.Time) []time.Time {
	for len(deaths) > 0 && now.Sub(deaths[0]) > deathWindow {
		deaths = deaths[1:]
	}
	return deaths
}

// runChild runs one child to its end: nil where it was asked to end.
func runChild(ctx context.Context, o Options, files []*os.File, state childState) (*death, error) {
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer readyR.Close()
	aliveR, aliveW, err := os.Pipe()
	if err != nil {
		readyW.Close()
		return nil, err
	}
	defer aliveW.Close() // the child ends when this process does
	cmd := exec.Command(o.Command[0], o.Command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = append(append(cmd.ExtraFiles, files...), readyW, aliveR)
	state.Ready, state.Alive = firstFD+len(files), firstFD+len(files)+1
	cmd.Env = append(o.Env[:len(o.Env):len(o.Env)], state.environ())
	err = cmd.Start()
	readyW.Close()
	aliveR.Close()
	if err != nil {
		return nil, fmt.Errorf("starting the relay: %w", err)
	}
	ready := make(chan bool, 1)
	go func() {
		n, _ := readyR.Read(make([]byte, 1))
		ready <- n == 1
	}()
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	select {
	case err := <-exited:
		return &death{err: exitError(err), ready: <-ready}, nil
	case <-ctx.Done():
	}
	return nil, stop(cmd, exited, o)
}

// stop ends a child in order, or by force after its time is over.
func stop(cmd *exec.Cmd, exited <-chan error, o Options) error {
	cmd.Process.Signal(syscall.SIGTERM)
	late := time.NewTimer(o.StopTimeout + stopGrace)
	defer late.Stop()
	select {
	case err := <-exited:
		return err
	case <-late.C:
		o.Logger.Error("relay did not end in time; killing it", "timeout", (o.StopTimeout + stopGrace).String())
		cmd.Process.Kill()
		return <-exited
	}
}

func exitError(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// inherit returns the listeners' files, and for each name its descriptor in the child.
func inherit(listeners map[string]net.Listener) ([]*os.File, map[string]int, error) {
	var files []*os.File
	names := map[string]int{}
	for name, l := range listeners {
		t, ok := l.(*net.TCPListener)
		if !ok {
			closeAll(files)
			return nil, nil, fmt.Errorf("listener %q is not TCP", name)
		}
		f, err := t.File()
		if err != nil {
			closeAll(files)
			return nil, nil, fmt.Errorf("listener %q: %w", name, err)
		}
		names[name] = firstFD + len(files)
		files = append(files, f)
	}
	return files, names, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

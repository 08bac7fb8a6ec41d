// Package replay is the screen of a replay while it runs: its phases, what is sent and
// how fast it is answered, what differs, and what workload and cluster say of it. All
// of it is drawn from the replay's events, those of the cloud's ReplayService or of a
// replay in this process.
package replay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/tui/style"
)

// Options describe a replay to its screen.
type Options struct {
	// In and Out are a terminal.
	In  io.Reader
	Out io.Writer
	// Theme is that of the terminal.
	Theme style.Theme
	// Title says what is replayed against what.
	Title string
	// Phases are those to come, in order; others are added when they are told of.
	Phases []string
	// Pods says that the workload is in pods, whose usage is told of.
	Pods bool
	// Question is asked before the replay is canceled.
	Question string
	// Source names what the talk is of that goes to Feed.Write.
	Source string
	// Now tells the time.
	Now func() time.Time

	cancel func()
	// leave says that the screen ends with the replay, and waits for no key.
	leave func() bool
}

// Feed tells a screen how its replay goes. It is safe for concurrent use, and is not in
// the way of its users: what comes after the screen's end is left out.
type Feed struct {
	program *tea.Program

	mu   sync.Mutex
	rest []byte
}

// Event tells an event of the replay.
func (f *Feed) Event(e *cloudv1.ReplayEvent) { f.program.Send(eventMsg{e}) }

// Status tells what the replay does, before there are phases.
func (f *Feed) Status(text string) { f.program.Send(statusMsg(text)) }

// Lost tells why there will be no more events.
func (f *Feed) Lost(err error) {
	f.program.Send(lostMsg("followed by its conditions only: " + err.Error()))
}

// maxSaid bounds a line of talk.
const maxSaid = 4 << 10

// Write takes lines of talk, such as those of a command that was started, which the log
// shows.
func (f *Feed) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rest = append(f.rest, p...)
	for {
		n := bytes.IndexByte(f.rest, '\n')
		if n < 0 && len(f.rest) < maxSaid {
			return len(p), nil
		}
		if n < 0 || n > maxSaid {
			n = maxSaid
		}
		text := strings.TrimSpace(string(f.rest[:n]))
		f.rest = bytes.TrimPrefix(f.rest[n:], []byte("\n"))
		if text != "" {
			f.program.Send(saidMsg(text))
		}
	}
}

// Run shows a replay while work runs it, and then its outcome until the user leaves, and
// returns the outcome. Its error is that of the terminal. Work's context ends when the
// user cancels, and when the terminal is lost; work returns soon after that. When ctx
// has ended, the screen does not wait for the user.
func Run(ctx context.Context, o Options, work func(context.Context, *Feed) Outcome) (Outcome, error) {
	working, cancel := context.WithCancel(ctx)
	defer cancel()
	o.cancel, o.leave = cancel, func() bool { return ctx.Err() != nil }
	p := tea.NewProgram(newModel(o), tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithAltScreen(), tea.WithoutSignalHandler())
	feed := &Feed{program: p}
	done := make(chan Outcome, 1)
	go func() {
		outcome := work(working, feed)
		done <- outcome
		p.Send(outcomeMsg(outcome))
	}()
	_, err := p.Run()
	cancel() // has ended already, unless the terminal is lost
	outcome := <-done
	if err != nil {
		return outcome, fmt.Errorf("the terminal: %w", err)
	}
	return outcome, nil
}

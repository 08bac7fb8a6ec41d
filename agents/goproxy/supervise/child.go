package supervise

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"
)

const (
	// variable tells a process that it is a child, and of what.
	variable = "SPEEDSCALE_SUPERVISED"
	// firstFD is the first descriptor after the standard ones.
	firstFD = 3
)

// Life is from the start of a child to its death.
type Life struct{ From, To time.Time }

// childState is what a supervisor tells a child.
type childState struct {
	Listeners    map[string]int `json:"listeners"`
	Ready, Alive int
	Deaths       int  `json:"deaths"`
	Degraded     bool `json:"degraded"`
	Died         []Life
}

func (s childState) environ() string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a struct of numbers and strings always has a JSON form
	}
	return variable + "=" + string(b)
}

// Child is what a supervised process was given.
type Child struct {
	// Listeners are the supervisor's, by name.
	Listeners map[string]net.Listener
	// Deaths is how many children died before this one.
	Deaths int
	// Died are the lives of the last of them: what they had told nobody is lost.
	Died []Life
	// Degraded asks the child to do less than it would, since others died of it.
	Degraded bool

	ready, alive *os.File
}

// Inherited returns what the supervisor of this process handed it, nil where it
// has none.
func Inherited() (*Child, error) {
	v := os.Getenv(variable)
	if v == "" {
		return nil, nil
	}
	os.Unsetenv(variable) // it is not for processes that this one starts
	var s childState
	if err := json.Unmarshal([]byte(v), &s); err != nil {
		return nil, fmt.Errorf("%s: %w", variable, err)
	}
	c := &Child{
		Listeners: map[string]net.Listener{}, Deaths: s.Deaths, Died: s.Died, Degraded: s.Degraded,
		ready: os.NewFile(uintptr(s.Ready), "ready"), alive: os.NewFile(uintptr(s.Alive), "alive"),
	}
	for name, fd := range s.Listeners {
		f := os.NewFile(uintptr(fd), name)
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("inherited listener %q: %w", name, err)
		}
		c.Listeners[name] = l
	}
	return c, nil
}

// Ready tells the supervisor that the child serves.
func (c *Child) Ready() {
	c.ready.Write([]byte{1})
	c.ready.Close()
}

// Context ends when ctx does, or when the supervisor is gone.
func (c *Child) Context(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		c.alive.Read(make([]byte, 1)) // nobody writes: it ends with the supervisor
		cancel()
	}()
	return ctx
}

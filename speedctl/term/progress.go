package term

import (
	"fmt"
	"sync"
	"time"
)

// Progress shows how far long work has come: one line that is drawn over on a
// terminal, a line every few seconds elsewhere. It is safe for concurrent use.
type Progress struct {
	world *World
	done  chan struct{}
	wg    sync.WaitGroup

	mu   sync.Mutex
	text string
}

// How often progress is shown on a terminal, and elsewhere.
const (
	redrawEvery = 200 * time.Millisecond
	repeatEvery = 10 * time.Second
)

// StartProgress begins showing text until Stop is called.
func (w *World) StartProgress(text string) *Progress {
	p := &Progress{world: w, text: text, done: make(chan struct{})}
	if w.Quiet {
		return p
	}
	every := repeatEvery
	if w.ErrTTY {
		every = redrawEvery
	}
	p.wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-p.done:
				return
			case <-tick.C:
				p.show()
			}
		}
	})
	return p
}

// Update changes what is shown.
func (p *Progress) Update(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = fmt.Sprintf(format, args...)
}

// Stop ends the display and clears its line. It is called once.
func (p *Progress) Stop() {
	close(p.done)
	p.wg.Wait()
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	p.world.clear()
}

func (p *Progress) show() {
	p.mu.Lock()
	text := p.text
	p.mu.Unlock()
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	if p.world.ErrTTY {
		fmt.Fprintf(p.world.Err, "\r\x1b[K%s", text)
		p.world.drawn = true
		return
	}
	fmt.Fprintln(p.world.Err, text)
}

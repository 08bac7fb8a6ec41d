package generator

import (
	"container/heap"
	"context"
	"runtime"
	"sync"
	"time"
)

// open runs the open model: each request has a planned time. A dispatcher sleeps
// until then and hands the request to a worker, or, while its session's previous
// request is under way, to the session.
func (r *run) open(ctx context.Context, plan *schedule) {
	wait := r.opts.Wait
	if wait == nil {
		precise, free := preciseWait()
		defer free()
		wait = precise
	}
	d := &dispatcher{run: r, ctx: ctx, sessions: map[sessionKey]*session{}}
	d.room.L = &d.mu
	defer context.AfterFunc(ctx, func() {
		d.mu.Lock() // so that no dispatch is between its look at ctx and its wait
		defer d.mu.Unlock()
		d.room.Broadcast()
	})()
	start := time.Now()
	var shared *scope
	for n := int64(0); ; n++ {
		i, pass := n%int64(len(r.requests)), n/int64(len(r.requests))
		if !r.opts.Share.has(r.requests[i].owner, pass) {
			continue // Another generator sends it; in one of Count passes this one does.
		}
		at, ok := plan.at(n)
		if !ok {
			break
		}
		planned := start.Add(at)
		if time.Until(planned) > 0 && wait(ctx, planned) != nil || ctx.Err() != nil {
			break
		}
		if shared == nil || shared.pass != pass {
			shared = r.newScope(pass)
		}
		j := &job{
			exchange: &exchange{req: r.requests[i], planned: planned, ready: planned},
			key:      sessionKey{pass: pass, number: r.requests[i].session},
		}
		if r.requests[i].changes() {
			j.scope = shared
		}
		if !d.dispatch(j) {
			break
		}
		runtime.Gosched() // the worker sends before the next wait is set up
	}
	d.finish()
}

// sessionKey is one session in one pass over the recorded requests. Passes are
// independent of one another, as those of other users would be.
type sessionKey struct {
	pass   int64
	number int
}

// session has a request under way; those that are due wait for it.
type session struct{ waiting []*job }

type job struct {
	*exchange
	key     sessionKey
	session *session // nil where sessions do not matter
	pending int      // how many responses it waits for
}

// dispatcher hands due requests to workers. Its mutex guards all that follows it.
type dispatcher struct {
	run *run
	ctx context.Context

	mu       sync.Mutex
	room     sync.Cond // fewer than maxQueued wait
	sessions map[sessionKey]*session
	ready    jobs // due, and waiting for a worker; earliest first
	queued   int  // in ready, in sessions, and waiting for responses
	parked   int  // those of queued that wait for responses
	idle     []*worker
	workers  int
	closed   bool // no request will be added
	wg       sync.WaitGroup
}

// worker is a goroutine with connections of its own.
type worker struct{ next chan *job } // capacity 1; closed at the end

// dispatch takes a request whose time has come. It waits while too many are
// queued; false means that the context ended.
func (d *dispatcher) dispatch(j *job) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.queued >= maxQueued && d.ctx.Err() == nil {
		d.room.Wait()
	}
	if d.ctx.Err() != nil {
		return false
	}
	if !d.run.opts.Unordered && j.key.number > 0 {
		s := d.sessions[j.key]
		if s != nil {
			j.session = s
			s.waiting = append(s.waiting, j)
			d.queued++
			return true
		}
		j.session = &session{}
		d.sessions[j.key] = j.session
	}
	if d.park(j) {
		d.queued++
		return true
	}
	d.assign(j)
	return true
}

// assign gives a job to the worker that was idle last, whose connection is warm,
// to a new one, or, where there are enough, to whichever is free first.
func (d *dispatcher) assign(j *job) {
	switch n := len(d.idle); {
	case n > 0:
		d.idle[n-1].next <- j
		d.idle = d.idle[:n-1]
	case d.workers < d.run.opts.Concurrency:
		d.workers++
		w := &worker{next: make(chan *job, 1)}
		d.wg.Go(func() { d.work(w, j) })
	default:
		heap.Push(&d.ready, j)
		d.queued++
	}
}

func (d *dispatcher) work(w *worker, j *job) {
	c := newClient(d.run)
	defer c.close()
	for j != nil {
		d.run.send(d.ctx, c, j.exchange)
		if j = d.done(w, j); j == nil {
			j = <-w.next
		}
	}
}

// done lets the session's next request go ahead, and returns what the worker
// does next; nil means that it is to wait on its channel.
func (d *dispatcher) done(w *worker, j *job) *job {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := j.session; s != nil {
		if len(s.waiting) > 0 {
			next := s.waiting[0]
			s.waiting = s.waiting[1:]
			next.after(j.done)
			if !d.park(next) {
				heap.Push(&d.ready, next) // was counted as queued, and still is
			}
		} else {
			delete(d.sessions, j.key)
		}
	}
	d.unpark(j)
	if d.ctx.Err() == nil && len(d.ready) > 0 {
		next := d.next()
		for len(d.ready) > 0 && (len(d.idle) > 0 || d.workers < d.run.opts.Concurrency) {
			d.assign(d.next()) // a response may have let several go ahead
		}
		return next
	}
	if d.closed && (d.ctx.Err() != nil || len(d.sessions) == 0 && d.parked == 0) {
		d.release()
		close(w.next)
		return nil
	}
	d.idle = append(d.idle, w)
	return nil
}

// next takes the earliest job that is ready.
func (d *dispatcher) next() *job {
	d.queued--
	d.room.Signal()
	return heap.Pop(&d.ready).(*job)
}

// after notes that something that a job waited for has ended.
func (j *job) after(end time.Time) {
	if end.After(j.ready) {
		j.ready = end
	}
}

// finish waits for what is under way, and for what is queued unless the context
// has ended.
func (d *dispatcher) finish() {
	d.mu.Lock()
	d.closed = true
	if d.ctx.Err() != nil || len(d.sessions) == 0 && len(d.ready) == 0 && d.parked == 0 {
		d.release()
	}
	d.mu.Unlock()
	d.wg.Wait()
}

// release ends the workers that are idle; the others end when they are done.
func (d *dispatcher) release() {
	for _, w := range d.idle {
		close(w.next)
	}
	d.idle = nil
}

// jobs is a heap, the earliest planned time first.
type jobs []*job

func (h jobs) Len() int           { return len(h) }
func (h jobs) Less(i, j int) bool { return h[i].planned.Before(h[j].planned) }
func (h jobs) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *jobs) Push(x any)        { *h = append(*h, x.(*job)) }

func (h *jobs) Pop() any {
	old := *h
	j := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return j
}

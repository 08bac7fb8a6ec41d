package intercept

import (
	"errors"
	"time"
)

var errClosedAtOnce = errors.New("closed without a byte after the handshake")

// watch tells a client that refuses our leaf after the handshake (a pin) from one
// that merely has a connection too many: clients of HTTP/2 open several at once,
// keep the first, and close the others without a byte. A close counts as a
// refusal only while the client has neither used a leaf of that host before nor
// another connection open that it may yet use.
type watch struct {
	i       *Interceptor
	key     client
	refused func(error)
}

func (i *Interceptor) watch(a *attempt) *watch {
	w := &watch{i: i, key: a.clientKey(), refused: a.refused}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.open[w.key]++
	return w
}

// accepted notes that the client has used the connection.
func (w *watch) accepted() {
	w.i.accepted.Put(w.key, struct{}{}, time.Now().Add(remember))
	w.i.refused.forget(w.key)
}

func (w *watch) closedAtOnce() {
	w.i.mu.Lock()
	others := w.i.open[w.key] - 1
	w.i.mu.Unlock()
	if _, ok := w.i.accepted.Get(w.key); !ok && others == 0 {
		w.refused(errClosedAtOnce)
	}
}

// ended notes that the connection is closed.
func (w *watch) ended() {
	w.i.mu.Lock()
	defer w.i.mu.Unlock()
	if w.i.open[w.key]--; w.i.open[w.key] == 0 {
		delete(w.i.open, w.key)
	}
}

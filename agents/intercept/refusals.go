package intercept

import (
	"time"

	"github.com/speedscale/speedscale/agents/lru"
)

// maxRemember is how long a client's refusals keep it from being tried at most.
const maxRemember = 24 * time.Hour

// refusal is what is thought of a client that did not take our leaf.
type refusal struct {
	until time.Time // it is tried again
	wait  time.Duration
}

// refusals remembers clients that do not take our leaf. Each trial costs a client that
// pins a connection, so it is tried ever more rarely.
type refusals struct {
	clients *lru.Cache[client, refusal]
}

// waiting says whether a client is not to be tried yet.
func (r refusals) waiting(c client) bool {
	last, ok := r.clients.Get(c)
	return ok && time.Now().Before(last.until)
}

// add notes a refusal. Those of connections that were tried at the same time are one.
func (r refusals) add(c client) {
	now, wait := time.Now(), remember
	if last, ok := r.clients.Get(c); ok {
		if now.Before(last.until) {
			return
		}
		wait = min(2*last.wait, maxRemember)
	}
	until := now.Add(wait)
	r.clients.Put(c, refusal{until, wait}, until.Add(maxRemember))
}

// forget notes that a client has taken a leaf.
func (r refusals) forget(c client) {
	if _, ok := r.clients.Get(c); ok {
		r.clients.Put(c, refusal{}, time.Now())
	}
}

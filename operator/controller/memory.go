package controller

import (
	"sync"
	"time"
)

const (
	// maxRolling is how many workloads are rolled out at the same time, and rollLimit
	// when one that is not settled makes room for another.
	maxRolling = 3
	rollLimit  = 10 * time.Minute
	// firstPause is how long after a roll-out in vain the same workload is not rolled out
	// again. Each time the pause is twice as long, and after maxVain of them it is left as
	// it is: pods that the webhook still does not see are no reason to restart an app for
	// ever.
	firstPause = 5 * time.Minute
	maxVain    = 3
	// reachAgain is how soon the webhook is tried again that was not reached.
	reachAgain = 30 * time.Second
	// roomAgain is how soon a workload asks again for which there was no room.
	roomAgain = 10 * time.Second
)

// memory is what the controllers of workloads know beside the API server. It is lost
// with the process, and does no harm then.
type memory struct {
	mu        sync.Mutex
	workloads map[string]*known
	// unreached is when the webhook was not reached last, by namespace.
	unreached map[string]time.Time
}

type known struct {
	stamp   string
	made    int       // pods of the stamp
	whole   bool      // it has had all of its pods with the stamp
	since   time.Time // when the stamp was first seen, or one more pod of it
	rolling time.Time // since when it is rolled out; zero where it is not
	last    time.Time // when it was rolled out last
	vain    int       // how often it was, and pods were still without a sidecar
	said    map[Report]bool
}

// of returns what is known of a workload. The caller holds the lock.
func (m *memory) of(id string) *known {
	if m.workloads == nil {
		m.workloads = map[string]*known{}
	}
	if m.workloads[id] == nil {
		m.workloads[id] = &known{said: map[Report]bool{}}
	}
	return m.workloads[id]
}

func (m *memory) forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.workloads, id)
}

// seen returns since when a workload is known to have a stamp, and no more pods of it
// than it has. whole says that it seems to have had all of them, which counts when it is seen
// for the first time: the operator has just started then.
func (m *memory) seen(id, stamp string, made int, whole bool, now time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.of(id)
	another := k.stamp != stamp
	if another {
		k.stamp, k.whole = stamp, k.stamp == "" && whole
		clear(k.said)
	}
	if another || made > k.made {
		k.since = now.Truncate(time.Second) // as the times of events are
	}
	k.made = made
	return k.since
}

// whole notes whether a workload has all of its pods with the stamp that was seen last,
// and says whether it ever had.
func (m *memory) whole(id string, now bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.of(id)
	if now {
		k.whole = true
		delete(k.said, Report{Reason: ReasonShort})
	}
	return k.whole
}

// mayRoll returns how long a workload has to wait until it may be rolled out.
func (m *memory) mayRoll(id string, now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.of(id)
	if k.vain > 0 {
		if wait := k.last.Add(firstPause << (k.vain - 1)).Sub(now); wait > 0 {
			return wait
		}
	}
	rolling := 0
	for other, k := range m.workloads {
		if other != id && !k.rolling.IsZero() && now.Sub(k.rolling) < rollLimit {
			rolling++
		}
	}
	if rolling >= maxRolling {
		return roomAgain
	}
	return 0
}

// rolled notes that a workload is rolled out from now on.
func (m *memory) rolled(id string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.of(id)
	k.rolling, k.last = now, now
	k.vain++ // until pods are seen to have a sidecar
}

// givenUp says that a workload was rolled out in vain often enough.
func (m *memory) givenUp(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.of(id).vain >= maxVain
}

// settled notes that a workload has all of its pods, and whether there are some of the
// template as it is, which the webhook has seen then.
func (m *memory) settled(id string, made bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.workloads[id]
	if k == nil {
		return
	}
	k.rolling = time.Time{}
	if made {
		k.vain = 0
	}
}

// missed notes that the webhook was not reached for a workload of a namespace.
func (m *memory) missed(namespace string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unreached == nil {
		m.unreached = map[string]time.Time{}
	}
	m.unreached[namespace] = now
}

// missedLately says that it need not be tried for another one of the namespace.
func (m *memory) missedLately(namespace string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.unreached[namespace]
	return ok && now.Before(at.Add(reachAgain))
}

// first says whether a report is made for the first time.
func (m *memory) first(id string, r Report) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.of(id)
	if r.Reason == ReasonShort {
		r.Text = "" // it names another pod each time
	}
	if k.said[r] || len(k.said) >= maxReports {
		return false
	}
	k.said[r] = true
	return true
}

package goproxy_test

import (
	"sync"
	"testing"
	"time"

	"github.com/speedscale/speedscale/traffic"
)

// recorder keeps what it is given.
type recorder struct {
	mu     sync.Mutex
	pairs  []*traffic.RRPair
	losses []*traffic.Loss
}

func (r *recorder) Pair(p *traffic.RRPair) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pairs = append(r.pairs, p)
}

func (r *recorder) Lost(l *traffic.Loss) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.losses = append(r.losses, l)
}

// waitPairs waits until n pairs have been recorded.
func (r *recorder) waitPairs(t *testing.T, n int) []*traffic.RRPair {
	t.Helper()
	var got []*traffic.RRPair
	eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		got = append([]*traffic.RRPair(nil), r.pairs...)
		return len(got) >= n
	}, "pairs were not recorded")
	if len(got) != n {
		t.Fatalf("%d pairs were recorded, want %d", len(got), n)
	}
	return got
}

// waitLoss waits until something was lost for a reason.
func (r *recorder) waitLoss(t *testing.T, reason string) *traffic.Loss {
	t.Helper()
	var got *traffic.Loss
	eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, l := range r.losses {
			if l.Reason == reason {
				got = l
				return true
			}
		}
		return false
	}, "no loss for "+reason)
	return got
}

func eventually(t *testing.T, ok func() bool, what string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

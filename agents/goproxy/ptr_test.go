package goproxy

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestReverseDNSNamesLaterConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReverseDNS()
		defer r.close()
		var asked atomic.Int32
		r.lookup = func(ctx context.Context, addr string) ([]string, error) {
			asked.Add(1)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if addr == "10.0.0.1" {
				return []string{"db.example.", "other.example."}, nil
			}
			return nil, errors.New("no such name")
		}
		named, unnamed := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::ffff:10.0.0.2")
		began := time.Now()
		if got := r.name(named) + r.name(named) + r.name(unnamed); got != "" || time.Since(began) > 0 {
			t.Errorf("got %q after %v, want nothing at once", got, time.Since(began))
		}
		time.Sleep(2 * time.Second)
		if got := r.name(named); got != "db.example" {
			t.Errorf("got %q, want db.example", got)
		}
		if got := r.name(unnamed); got != "" || asked.Load() != 2 {
			t.Errorf("got %q, and asked %d times, want twice", got, asked.Load())
		}
		time.Sleep(ptrKept)
		r.name(named)
		synctest.Wait()
		if asked.Load() != 3 {
			t.Errorf("asked %d times, want again when what was known is old", asked.Load())
		}
	})
}

func TestReverseDNSIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReverseDNS()
		var asked atomic.Int32
		r.lookup = func(ctx context.Context, _ string) ([]string, error) {
			asked.Add(1)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		a := netip.MustParseAddr("10.0.0.1")
		for range 3 * ptrLookups {
			r.name(a)
			synctest.Wait()
			a = a.Next()
		}
		if asked.Load() != ptrLookups {
			t.Errorf("%d lookups at once, want %d", asked.Load(), ptrLookups)
		}
		r.close() // ends them
	})
}

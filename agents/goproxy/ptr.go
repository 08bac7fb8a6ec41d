package goproxy

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/speedscale/speedscale/agents/lru"
)

const (
	ptrEntries = 4096
	ptrLookups = 8 // at once
	ptrTimeout = 5 * time.Second
	ptrKept    = 10 * time.Minute // a name, or that there is none
)

// reverseDNS names addresses by their PTR records. A name is looked up in the
// background when its address is first seen: no connection waits for it, so the
// first ones go without.
type reverseDNS struct {
	lookup  func(ctx context.Context, addr string) (names []string, err error)
	known   *lru.Cache[netip.Addr, string] // "" while it is looked up, and where there is none
	slots   chan struct{}
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// newReverseDNS asks the system's resolver, until close.
func newReverseDNS() *reverseDNS {
	r := &reverseDNS{
		lookup: net.DefaultResolver.LookupAddr,
		known:  lru.New[netip.Addr, string](ptrEntries),
		slots:  make(chan struct{}, ptrLookups),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

func (r *reverseDNS) close() {
	r.cancel()
	r.running.Wait()
}

// name returns what is known of an address by now.
func (r *reverseDNS) name(a netip.Addr) string {
	if name, ok := r.known.Get(a); ok {
		return name
	}
	select {
	case r.slots <- struct{}{}:
	default:
		return "" // the next connection asks again
	}
	r.known.Put(a, "", time.Now().Add(ptrKept))
	r.running.Go(func() {
		defer func() { <-r.slots }()
		ctx, cancel := context.WithTimeout(r.ctx, ptrTimeout)
		defer cancel()
		if names, err := r.lookup(ctx, a.Unmap().String()); err == nil && len(names) > 0 {
			r.known.Put(a, strings.TrimSuffix(names[0], "."), time.Now().Add(ptrKept))
		}
	})
	return ""
}

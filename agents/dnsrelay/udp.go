package dnsrelay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

func (r *Relay) serveUDP(ctx context.Context, u *net.UDPConn, wg *sync.WaitGroup) error {
	for {
		buf := r.buffers.Get().(*[maxMessage]byte)
		n, client, err := u.ReadFromUDPAddrPort(buf[:])
		if err != nil {
			r.buffers.Put(buf)
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return err
			}
			continue // an ICMP error for an answer sent before
		}
		r.queries.Add(1)
		select {
		case r.inFlight <- struct{}{}:
		default:
			r.dropped.Add(1)
			r.buffers.Put(buf)
			continue
		}
		wg.Go(func() {
			defer func() { r.buffers.Put(buf); <-r.inFlight }()
			r.answerUDP(ctx, u, client, buf, n)
		})
	}
}

// answerUDP answers the query in the first n bytes of buf, which it uses for the
// answer too.
func (r *Relay) answerUDP(ctx context.Context, u *net.UDPConn, client netip.AddrPort, buf *[maxMessage]byte, n int) {
	query := append([]byte(nil), buf[:n]...)
	if answer := r.synth.known(query, r.unresolved); answer != nil {
		r.synthesized.Add(1)
		u.WriteToUDPAddrPort(answer, client)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	start := int(r.current.Load())
	for k := range r.servers {
		index := (start + k) % len(r.servers)
		n, err := r.exchange(ctx, r.servers[index], query, buf[:])
		if err != nil {
			r.log.Debug("nameserver did not answer", "nameserver", r.servers[index], "error", err)
			if ctx.Err() != nil {
				break
			}
			continue
		}
		if index != start {
			r.current.Store(int64(index))
		}
		u.WriteToUDPAddrPort(r.answer(ctx, buf[:n]), client)
		return
	}
	r.timedOut.Add(1)
	if answer := r.synth.unanswered(query, r.unresolved); answer != nil {
		r.synthesized.Add(1)
		u.WriteToUDPAddrPort(answer, client)
	}
}

// answer notes what a nameserver answered, and returns it, or our own answer in
// its place where a name to synthesize did not resolve.
func (r *Relay) answer(ctx context.Context, message []byte) []byte {
	elsewhere := func(names []string) bool { return r.resolves(ctx, names) }
	if own := r.synth.replace(message, r.unresolved, elsewhere); own != nil {
		r.synthesized.Add(1)
		return own
	}
	r.note(message)
	r.answers.Add(1)
	return message
}

// exchange sends a query from a port of its own (RFC 5452, section 4.5: the
// kernel picks it at random) and takes the first answer from that server with the
// query's id.
func (r *Relay) exchange(ctx context.Context, server netip.AddrPort, query, buf []byte) (int, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	deadline := time.Now().Add(r.timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(query); err != nil {
		return 0, err
	}
	for range 16 {
		n, err := conn.Read(buf)
		if err != nil {
			return 0, err
		}
		if n >= 2 && len(query) >= 2 && buf[0] == query[0] && buf[1] == query[1] {
			return n, nil
		}
	}
	return 0, os.ErrDeadlineExceeded
}

package goproxy

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/speedscale/speedscale/traffic/wire"
	"github.com/speedscale/speedscale/traffic/wire/sniff"
)

// first waits, without a limit, until one of two connected ends sends something
// or ends, and says which and what it is about to send. Nothing is consumed.
func first(client, server *net.TCPConn) (side wire.Side, head []byte) {
	var won atomic.Bool
	serverFirst := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		var b [1]byte
		if _, err := peek(server, b[:], anything); errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if won.CompareAndSwap(false, true) {
			serverFirst = true
			client.SetReadDeadline(time.Unix(1, 0))
		}
	}()
	buf := make([]byte, 8)
	head, err := peek(client, buf, anything)
	if won.CompareAndSwap(false, true) {
		server.SetReadDeadline(time.Unix(1, 0))
	}
	<-done
	client.SetReadDeadline(time.Time{})
	server.SetReadDeadline(time.Time{})
	if serverFirst || err != nil {
		return wire.Server, nil
	}
	return wire.Client, head
}

// isTLS says whether what a client sends begins like TLS.
func isTLS(head []byte) bool {
	kind, _ := sniff.Protocol(head)
	return kind == sniff.TLS
}

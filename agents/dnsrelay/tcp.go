package dnsrelay

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

func (r *Relay) serveTCP(ctx context.Context, l *net.TCPListener, wg *sync.WaitGroup) error {
	for {
		client, err := l.AcceptTCP()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return err
			}
			// Out of file descriptors, most likely: the listener is well.
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		select {
		case r.conns <- struct{}{}:
		default:
			r.dropped.Add(1)
			client.Close()
			continue
		}
		wg.Go(func() {
			defer func() { client.Close(); <-r.conns }()
			stop := context.AfterFunc(ctx, func() { client.Close() })
			defer stop()
			r.relayTCP(ctx, client)
		})
	}
}

// relayTCP passes messages on in both directions, each on its own: a client may
// send several queries at once and get the answers in any order (RFC 7766,
// section 6.2.1.1), or several messages for one query (RFC 5936).
func (r *Relay) relayTCP(ctx context.Context, client *net.TCPConn) {
	server := r.dialTCP(ctx)
	if server == nil {
		r.answerAlone(client)
		return
	}
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	var sending sync.Mutex // our own answers go between the nameserver's
	var wg sync.WaitGroup
	wg.Go(func() {
		r.messages(server, client, &sending, func(m []byte) []byte { return r.answer(ctx, m) })
		client.Close()
	})
	own := func(query []byte) []byte {
		r.queries.Add(1)
		answer := r.synth.known(query, r.unresolved)
		if answer == nil {
			return query
		}
		r.synthesized.Add(1)
		sending.Lock()
		defer sending.Unlock()
		writeMessage(client, answer)
		return nil
	}
	r.messages(client, server, nil, own)
	server.CloseWrite()
	wg.Wait()
}

// messages reads messages from src and writes what handle makes of them to dst,
// until one of them ends or nothing comes for tcpIdle.
func (r *Relay) messages(src, dst *net.TCPConn, sending *sync.Mutex, handle func([]byte) []byte) {
	buf := r.buffers.Get().(*[maxMessage]byte)
	defer r.buffers.Put(buf)
	for {
		src.SetReadDeadline(time.Now().Add(tcpIdle))
		message, err := readMessage(src, buf)
		if err != nil {
			return
		}
		if message = handle(message); message == nil {
			continue
		}
		if sending != nil {
			sending.Lock()
		}
		err = writeMessage(dst, message)
		if sending != nil {
			sending.Unlock()
		}
		if err != nil {
			return
		}
	}
}

func (r *Relay) dialTCP(ctx context.Context) *net.TCPConn {
	start := int(r.current.Load())
	for k := range r.servers {
		server := r.servers[(start+k)%len(r.servers)]
		dialer := net.Dialer{Timeout: r.timeout}
		conn, err := dialer.DialContext(ctx, "tcp", server.String())
		if err == nil {
			return conn.(*net.TCPConn)
		}
		r.log.Debug("nameserver does not take a connection", "nameserver", server, "error", err)
	}
	return nil
}

// answerAlone serves a client while no nameserver can be reached: names to
// synthesize get their answer, at another name the connection is closed.
func (r *Relay) answerAlone(client *net.TCPConn) {
	r.messages(client, client, nil, func(query []byte) []byte {
		r.queries.Add(1)
		answer := r.synth.unanswered(query, r.unresolved)
		if answer == nil {
			client.Close()
			return nil
		}
		r.synthesized.Add(1)
		return answer
	})
}

// readMessage reads a message with its two-byte length (RFC 1035, section 4.2.2).
func readMessage(r io.Reader, buf *[maxMessage]byte) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	message := buf[:binary.BigEndian.Uint16(length[:])]
	_, err := io.ReadFull(r, message)
	return message, err
}

// writeMessage writes a message in one piece, since some servers expect its length
// and its content in one segment.
func writeMessage(w *net.TCPConn, message []byte) error {
	w.SetWriteDeadline(time.Now().Add(tcpIdle))
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(message)), uint16(len(message)))
	_, err := w.Write(append(b, message...))
	return err
}

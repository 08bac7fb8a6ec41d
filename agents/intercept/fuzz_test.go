package intercept_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/speedscale/speedscale/agents/intercept"
)

// FuzzHello: whatever a client sends first, the host gets exactly that when the
// connection is relayed opaque, and nothing panics.
func FuzzHello(f *testing.F) {
	hello := clientHello(f)
	f.Add(hello, 0)
	f.Add(hello[:20], 5)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 3)
	f.Add(append(bytes.Clone(hello), "more"...), 40)
	ca, _ := newCA(f)
	i := newInterceptor(f, intercept.Options{CA: ca, HandshakeTimeout: time.Second})
	f.Fuzz(func(t *testing.T, sent []byte, split int) {
		split = min(max(split, 0), len(sent))
		client, far := net.Pipe()
		go func() { far.Write(sent[split:]); far.Close() }()
		var got bytes.Buffer
		copied := make(chan struct{})
		dials := 0
		res, err := i.Outbound(t.Context(), client, bytes.Clone(sent[:split]), func(context.Context) (net.Conn, error) {
			// The first host ends the handshake at once; the second is the relay's.
			a, b := net.Pipe()
			if dials++; dials == 1 && len(got.Bytes()) == 0 {
				go func() {
					head := make([]byte, 1)
					b.SetReadDeadline(time.Now().Add(time.Second))
					if n, _ := io.ReadFull(b, head); n == 1 {
						got.Write(head)
					}
					io.Copy(&got, b)
					close(copied)
				}()
				return a, nil
			}
			return nil, errors.New("no second host")
		}, "a.test")
		client.Close()
		far.Close()
		if err != nil {
			return // a hello that was understood: the first host did not answer it
		}
		rest, _ := io.ReadAll(res.ClientConn)
		res.ServerConn.Close()
		<-copied
		if all := append(got.Bytes(), rest...); res.Opaque && !bytes.HasPrefix(sent, all) {
			t.Errorf("%s: host got %x of %x", res.Reason, all, sent)
		}
	})
}

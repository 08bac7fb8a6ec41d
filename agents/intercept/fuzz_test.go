package intercept_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"

	"github.com/speedscale/speedscale/agents/intercept"
)

// mute takes what is written to it and has nothing to say.
type mute struct {
	net.Conn
	got bytes.Buffer
}

func (m *mute) Write(b []byte) (int, error) { return m.got.Write(b) }
func (m *mute) Read([]byte) (int, error)    { return 0, io.EOF }

// FuzzHello: whatever a client sends first, a host that cannot be intercepted gets
// exactly that, and nothing panics.
func FuzzHello(f *testing.F) {
	hello := clientHello(f)
	f.Add(hello, 0)
	f.Add(hello[:20], 5)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 3)
	f.Add(append(bytes.Clone(hello), "more"...), 40)
	ca, _ := newCA(f)
	f.Fuzz(func(t *testing.T, sent []byte, split int) {
		split = min(max(split, 0), len(sent))
		client, far := net.Pipe()
		defer client.Close()
		go func() { far.Write(sent[split:]); far.Close() }()
		var last *mute
		dial := func(context.Context) (net.Conn, error) {
			unused, _ := net.Pipe()
			last = &mute{Conn: unused}
			return last, nil
		}
		i := newInterceptor(t, intercept.Options{CA: ca})
		res, err := i.Outbound(t.Context(), client, bytes.Clone(sent[:split]), dial, "a.test")
		if err != nil || !res.Opaque {
			t.Fatalf("%+v, %v", res, err)
		}
		rest, err := io.ReadAll(res.ClientConn)
		if err != nil {
			t.Fatal(err)
		}
		if all := append(last.got.Bytes(), rest...); !bytes.Equal(all, sent) {
			t.Errorf("%s: host got %x of %x", res.Reason, all, sent)
		}
	})
}

package responder_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/agents/responder"
)

// TestAnswerBytes checks each byte that goes out.
func TestAnswerBytes(t *testing.T) {
	gzipped := recorded("GET", "/gzip", "", "\x1f\x8bgz", "Content-Encoding", "gzip", "content-LENGTH", "99", "X-a", "1", "X-A", "2", "Date", "Sat, 01 Jan 2000 00:00:00 GMT")
	inChunks := recorded("GET", "/chunks", "", "hello", "Connection", "keep-alive, X-Hop", "X-Hop", "1", "transfer-encoding", "chunked", "Keep-Alive", "timeout=5", "A", "b")
	trailers := recorded("GET", "/trailers", "", "sum", "Trailer", "X-Sum")
	trailers.Http.Res.Trailers = headers("X-Sum", "9")
	head := recorded("HEAD", "/head", "", "", "Content-Length", "500")
	none := recorded("DELETE", "/none", "", "", "Content-Length", "0")
	none.Http.Res.StatusCode, none.Http.Res.StatusMessage = 204, "No Content"
	unchanged := recorded("GET", "/unchanged", "", "", "ETag", "x", "Content-Length", "12")
	unchanged.Http.Res.StatusCode, unchanged.Http.Res.StatusMessage = 304, "Not Modified"
	custom := recorded("GET", "/custom", "", "no")
	custom.Http.Res.StatusCode, custom.Http.Res.StatusMessage = 418, "I'm a teapot, short and stout"
	old := recorded("GET", "/h2", "", "h2", ":status", "200", "content-type", "a/b")
	old.Http.Res.Version, old.Http.Res.StatusMessage = "2.0", ""
	_, addr := start(t, responder.Options{Reactions: pairs(gzipped, inChunks, trailers, head, none, unchanged, custom, old)})
	tests := []struct{ name, in, want string }{
		{"order, case and coding", "GET /gzip HTTP/1.1\r\nHost: api.test\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\ncontent-LENGTH: 4\r\nX-a: 1\r\nX-A: 2\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\n\r\n\x1f\x8bgz"},
		{"chunks without hop-by-hop fields", "GET /chunks HTTP/1.1\r\nHost: api.test\r\n\r\n",
			"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nA: b\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		{"no chunks for HTTP/1.0", "GET /chunks HTTP/1.0\r\nHost: api.test\r\n\r\n",
			"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"},
		{"HTTP/1.0 kept alive", "GET /custom HTTP/1.0\r\nHost: api.test\r\nConnection: keep-alive\r\n\r\nGET /custom HTTP/1.0\r\nHost: api.test\r\n\r\n",
			"HTTP/1.1 418 I'm a teapot, short and stout\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nno" +
				"HTTP/1.1 418 I'm a teapot, short and stout\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"},
		{"trailers", "GET /trailers HTTP/1.1\r\nHost: api.test\r\n\r\n",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsum\r\n0\r\nX-Sum: 9\r\n\r\n"},
		{"HEAD", "HEAD /head HTTP/1.1\r\nHost: api.test\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"},
		{"204", "DELETE /none HTTP/1.1\r\nHost: api.test\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"},
		{"304", "GET /unchanged HTTP/1.1\r\nHost: api.test\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 12\r\n\r\n"},
		{"recorded over HTTP/2", "GET /h2 HTTP/1.1\r\nHost: api.test\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-type: a/b\r\nContent-Length: 2\r\n\r\nh2"},
		{"pipelined, then closed", "GET /custom HTTP/1.1\r\nHost: api.test\r\n\r\nHEAD /head HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\nGET /custom HTTP/1.1\r\n\r\n",
			"HTTP/1.1 418 I'm a teapot, short and stout\r\nContent-Length: 2\r\n\r\nnoHTTP/1.1 200 OK\r\nContent-Length: 500\r\nConnection: close\r\n\r\n"},
		{"to a proxy", "GET http://api.test/h2 HTTP/1.1\r\nHost: other.test\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-type: a/b\r\nContent-Length: 2\r\n\r\nh2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, exchange(t, addr, tt.in)); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRequestBodies(t *testing.T) {
	big := strings.Repeat("0123456789", 50_000)
	r, addr := start(t, responder.Options{MaxBody: 1 << 20, Reactions: pairs(
		recorded("POST", "/", `{"a":1,"b":[2]}`, "json"), recorded("POST", "/", big, big),
	)})
	tests := []struct{ name, in, want string }{
		{"length", "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 18\r\n\r\n{\"b\": [2], \"a\":1} ", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\njson"},
		{"chunks", "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\na\r\n1,\"b\":[2]}\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\njson"},
		{"expected", "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 15\r\nExpect: 100-continue\r\n\r\n{\"a\":1,\"b\":[2]}",
			"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\njson"},
		{"long", "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 500000\r\n\r\n" + big, "HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n" + big},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := exchange(t, addr, tt.in); got != tt.want {
				t.Errorf("got %.200q, want %.200q", got, tt.want)
			}
		})
	}
	over := exchange(t, addr, "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 2000000\r\n\r\n"+strings.Repeat("0123456789", 200_000))
	if s := r.Stats(); !strings.HasPrefix(over, "HTTP/1.1 404 ") || s.Missed != 1 || len(s.Misses) != 1 || s.Misses[0].Reason != responder.MissCutBody {
		t.Errorf("a body over the limit: %.100q, %+v", over, s)
	}
}

// TestExpectContinueWaits: the body comes only after 100 (Continue).
func TestExpectContinueWaits(t *testing.T) {
	_, addr := start(t, responder.Options{Reactions: pairs(recorded("PUT", "/", "abc", "done"))})
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(nc, "PUT / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
	interim := make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))
	if _, err := io.ReadFull(nc, interim); err != nil || !bytes.HasPrefix(interim, []byte("HTTP/1.1 100 ")) {
		t.Fatalf("%q, %v", interim, err)
	}
	io.WriteString(nc, "abc")
	final := make([]byte, 15)
	if _, err := io.ReadFull(nc, final); err != nil || string(final) != "HTTP/1.1 200 OK" {
		t.Errorf("%q, %v", final, err)
	}
}

func TestBadRequests(t *testing.T) {
	_, addr := start(t, responder.Options{Reactions: pairs(recorded("GET", "/", "", "ok")), MaxHead: 8 << 10})
	tests := []struct{ name, in, want string }{
		{"smuggling", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400 "},
		{"not HTTP", "\x00\x01\x02\x03\n", "HTTP/1.1 400 "},
		{"long head", "GET / HTTP/1.1\r\nA: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", "HTTP/1.1 431 "},
		{"unknown version", "GET / HTTP/3.0\r\n\r\n", "HTTP/1.1 505 "},
		{"TLS without a certificate", "\x16\x03\x01\x00\x05hello", ""},
		{"PROXY version 1", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\nGET / HTTP/1.1\r\n\r\n", ""},
		{"truncated PROXY header", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x01", ""},
		{"truncated head", "GET / HT", ""},
		{"nothing", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := exchange(t, addr, tt.in)
			if !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("answered %q, want %q", got, tt.want)
			}
			if strings.Contains(got, "aaaa") {
				t.Error("the answer quotes the request")
			}
		})
	}
	if got := exchange(t, addr, "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n"); !strings.HasSuffix(got, "ok") {
		t.Errorf("afterwards: %q", got)
	}
}

// TestSlowClient: a head that never ends is given up.
func TestSlowClient(t *testing.T) {
	_, addr := start(t, responder.Options{Reactions: pairs(recorded("GET", "/", "", "ok")), IdleTimeout: 300 * time.Millisecond})
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	begun := time.Now()
	for i := 0; ; i++ {
		if _, err := fmt.Fprintf(nc, "GET / HTTP/1.1\r\nX-%d: a", i); err != nil {
			break
		}
		nc.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := nc.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
			break
		}
		if time.Since(begun) > 5*time.Second {
			t.Fatal("the connection is still open")
		}
	}
}

// TestMaxConns: more connections wait, and are served when others end.
func TestMaxConns(t *testing.T) {
	_, addr := start(t, responder.Options{Reactions: pairs(recorded("GET", "/", "", "ok")), MaxConns: 1})
	idle, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() { got <- exchange(t, addr, "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n") }()
	select {
	case answer := <-got:
		t.Errorf("answered %q while another connection was open", answer)
	case <-time.After(100 * time.Millisecond):
	}
	idle.Close()
	if answer := <-got; !strings.HasSuffix(answer, "ok") {
		t.Errorf("answered %q", answer)
	}
}

// FuzzConnection sends any bytes as the first of a connection: they cost neither
// the process nor the next connection.
func FuzzConnection(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: api.test\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n0\r\n\r\n"))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x07\xe0\x00\x04abcdGET / HTTP/1.1\r\n\r\n"))
	_, addr := start(f, responder.Options{Reactions: pairs(recorded("GET", "/", "", "ok")), IdleTimeout: time.Second})
	f.Fuzz(func(t *testing.T, in []byte) {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(5 * time.Second))
		nc.Write(in)
		nc.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, nc); err != nil {
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				t.Errorf("the connection is still open")
			}
		}
	})
}

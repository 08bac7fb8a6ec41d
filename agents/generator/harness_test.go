package generator_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/speedscale/speedscale/agents/generator"
	"github.com/speedscale/speedscale/traffic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// get is a recorded GET in a session, so long after the start of the recording.
func get(path, session string, at time.Duration) *traffic.RRPair {
	return exchange("GET", path, session, at, "", "ok")
}

func exchange(method, path, session string, at time.Duration, reqBody, resBody string) *traffic.RRPair {
	req := &traffic.HTTPRequest{
		Url: "http://shop.example.com:8080" + path, Uri: path, Version: "1.1", Method: method, Host: "shop.example.com:8080",
		Headers: []*traffic.Header{{Name: "Host", Value: "shop.example.com:8080"}, {Name: "Accept", Value: "*/*"}},
		Body:    []byte(reqBody), BodySize: int64(len(reqBody)),
	}
	res := &traffic.HTTPResponse{
		StatusCode: 200, StatusMessage: "OK", Version: "1.1", ContentType: "text/plain",
		Headers: []*traffic.Header{{Name: "Content-Length", Value: fmt.Sprint(len(resBody))}, {Name: "Content-Type", Value: "text/plain"}},
		Body:    []byte(resBody), BodySize: int64(len(resBody)),
	}
	return &traffic.RRPair{
		Uuid: traffic.NewUUID(), Ts: time.Unix(1_700_000_000, 0).Add(at).UnixNano(), Duration: int64(time.Millisecond),
		Direction: traffic.Direction_DIRECTION_IN, Service: "shop", L7Protocol: traffic.HTTPProtocol,
		Command: method, Location: path, Status: "200", NetworkAddress: "shop.example.com:8080", Session: session,
		Http: &traffic.HTTP{Req: req, Res: res},
	}
}

func pairs(list ...*traffic.RRPair) iter.Seq2[*traffic.RRPair, error] {
	return func(yield func(*traffic.RRPair, error) bool) {
		for _, p := range list {
			if !yield(p, nil) {
				return
			}
		}
	}
}

func target(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := generator.ParseTarget(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// arrival is a request as the pipeServer saw it.
type arrival struct {
	path string
	at   time.Duration
}

// pipeServer is a server in memory, for time that a test controls.
type pipeServer struct {
	// delay is how long it takes to answer.
	delay func(path string) time.Duration

	start    time.Time
	mu       sync.Mutex
	arrivals []arrival
	conns    int
}

func newPipeServer(delay time.Duration) *pipeServer {
	return &pipeServer{start: time.Now(), delay: func(string) time.Duration { return delay }}
}

func (s *pipeServer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	near, far := net.Pipe()
	s.mu.Lock()
	s.conns++
	s.mu.Unlock()
	go s.serve(far)
	return near, nil
}

func (s *pipeServer) serve(nc net.Conn) {
	defer nc.Close()
	r := bufio.NewReader(nc)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		io.Copy(io.Discard, req.Body)
		s.mu.Lock()
		s.arrivals = append(s.arrivals, arrival{req.RequestURI, time.Since(s.start)})
		s.mu.Unlock()
		time.Sleep(s.delay(req.RequestURI))
		if _, err := io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"); err != nil {
			return
		}
	}
}

// rawServer answers each connection's requests with the given responses in turn,
// then closes it, and keeps what it read.
type rawServer struct {
	net.Listener
	mu   sync.Mutex
	got  strings.Builder
	wg   sync.WaitGroup
	answ func(conn, n int) (response string, last bool)
}

func newRawServer(t testing.TB, answer func(conn, n int) (response string, last bool)) *rawServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{Listener: l, answ: answer}
	s.wg.Go(func() {
		for i := 0; ; i++ {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(nc, i) })
		}
	})
	t.Cleanup(func() { l.Close(); s.wg.Wait() })
	return s
}

func (s *rawServer) serve(nc net.Conn, conn int) {
	defer nc.Close()
	r := bufio.NewReader(io.TeeReader(nc, lockedWriter{s}))
	for n := 0; ; n++ {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		io.Copy(io.Discard, req.Body)
		response, last := s.answ(conn, n)
		io.WriteString(nc, response)
		if last {
			return
		}
	}
}

type lockedWriter struct{ s *rawServer }

func (w lockedWriter) Write(p []byte) (int, error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	return w.s.got.Write(p)
}

func (s *rawServer) received() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.String()
}

func dialFunc(f func(addr string)) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		f(addr)
		return nil, net.ErrClosed
	}
}

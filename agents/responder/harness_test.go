package responder_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/speedscale/speedscale/agents/proxyproto"
	"github.com/speedscale/speedscale/agents/responder"
	"github.com/speedscale/speedscale/traffic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func headers(kv ...string) (list []*traffic.Header) {
	for i := 0; i < len(kv); i += 2 {
		list = append(list, &traffic.Header{Name: kv[i], Value: kv[i+1]})
	}
	return list
}

// recorded is a request to api.test and its response.
func recorded(method, uri, reqBody, resBody string, resHeaders ...string) *traffic.RRPair {
	req := &traffic.HTTPRequest{
		Url: "http://api.test" + uri, Uri: uri, Version: "1.1", Method: method, Host: "api.test",
		Headers: headers("Host", "api.test"), Body: []byte(reqBody), BodySize: int64(len(reqBody)),
	}
	res := &traffic.HTTPResponse{
		StatusCode: 200, StatusMessage: "OK", Version: "1.1", Headers: headers(resHeaders...),
		Body: []byte(resBody), BodySize: int64(len(resBody)),
	}
	return &traffic.RRPair{
		Uuid: []byte(fmt.Sprintf("%-16.16s", method+uri)), Ts: time.Unix(1_700_000_000, 0).UnixNano(), Duration: int64(50 * time.Millisecond),
		Direction: traffic.Direction_DIRECTION_OUT, Service: "shop", L7Protocol: traffic.HTTPProtocol,
		Command: method, Location: uri, Status: "200", NetworkAddress: "api.test:80", Http: &traffic.HTTP{Req: req, Res: res},
	}
}

func pairs(list ...*traffic.RRPair) iter.Seq2[*traffic.RRPair, error] {
	return func(yield func(*traffic.RRPair, error) bool) {
		for i, p := range list {
			p.Ts += int64(i)
			if !yield(p, nil) {
				return
			}
		}
	}
}

// start serves on a port of its own until the test ends.
func start(t testing.TB, opts responder.Options) (*responder.Responder, string) {
	t.Helper()
	r, err := responder.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return r, serve(t, func(ctx context.Context, l net.Listener) error { return r.Serve(ctx, l) })
}

func serve(t testing.TB, f func(context.Context, net.Listener) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Serve did not return")
		}
	})
	return l.Addr().String()
}

// exchange writes bytes and returns all that comes back until the connection
// ends, or until nothing more comes.
func exchange(t testing.TB, addr, in string) string {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(nc, in); err != nil {
		t.Fatal(err)
	}
	if half, ok := nc.(*net.TCPConn); ok {
		half.CloseWrite()
	}
	out, err := io.ReadAll(nc)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after %q: %v", out, err)
	}
	return string(out)
}

// client keeps one connection, with a PROXY header ahead where one is given.
func client(t testing.TB, addr string, h *proxyproto.Header) *http.Client {
	transport := &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			if err == nil && h != nil {
				_, err = nc.Write(h.AppendTo(nil))
			}
			return nc, err
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// fetch returns status and body.
func fetch(t testing.TB, c *http.Client, method, url, body string, kv ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(kv); i += 2 {
		req.Header.Set(kv[i], kv[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(bufio.NewReader(res.Body))
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

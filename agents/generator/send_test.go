package generator_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/agents/generator"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/report"
)

const okResponse = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"

// TestRequestBytes checks each byte that goes out.
func TestRequestBytes(t *testing.T) {
	headers := func(kv ...string) (list []*traffic.Header) {
		for i := 0; i < len(kv); i += 2 {
			list = append(list, &traffic.Header{Name: kv[i], Value: kv[i+1]})
		}
		return list
	}
	tests := []struct {
		name    string
		req     *traffic.HTTPRequest
		rewrite bool
		want    string
	}{
		{name: "order, case and raw target are kept", req: &traffic.HTTPRequest{
			Method: "GET", Uri: "/a%2Fb/../c?q=%20x&&y", Url: "http://api.test/a%2Fb/../c?q=%20x&&y", Version: "1.1", Host: "api.test",
			Headers: headers("x-Last", "1", "hOsT", "api.test", "Cookie", "a=b; c=d", "X-first", "2", "X-first", "3"),
		}, want: "GET /a%2Fb/../c?q=%20x&&y HTTP/1.1\r\nx-Last: 1\r\nhOsT: api.test\r\nCookie: a=b; c=d\r\nX-first: 2\r\nX-first: 3\r\n\r\n"},
		{name: "hop-by-hop fields and Expect are dropped", req: &traffic.HTTPRequest{
			Method: "POST", Uri: "/", Version: "1.1", Host: "api.test", Body: []byte("abc"), BodySize: 3,
			Headers: headers("Host", "api.test", "Connection", "keep-alive, X-Hop", "X-Hop", "1", "Keep-Alive", "timeout=5",
				"Transfer-Encoding", "chunked", "TE", "trailers", "Expect", "100-continue", "Content-Encoding", "gzip"),
		}, want: "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"},
		{name: "length is that of the body, in its place", req: &traffic.HTTPRequest{
			Method: "PUT", Uri: "/", Version: "1.1", Host: "api.test", Body: []byte("abcd"), BodySize: 4,
			Headers: headers("Host", "api.test", "content-length", "99", "Accept", "*/*"),
		}, want: "PUT / HTTP/1.1\r\nHost: api.test\r\ncontent-length: 4\r\nAccept: */*\r\n\r\nabcd"},
		{name: "trailers need chunks", req: &traffic.HTTPRequest{
			Method: "POST", Uri: "/", Version: "1.1", Host: "api.test", Body: []byte("abc"), BodySize: 3,
			Headers: headers("Host", "api.test"), Trailers: headers("X-Sum", "9"),
		}, want: "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n"},
		{name: "a request to a proxy becomes one to the origin", req: &traffic.HTTPRequest{
			Method: "GET", Uri: "http://api.test?x=1", Version: "1.1", Host: "api.test", Headers: headers("Host", "api.test"),
		}, want: "GET /?x=1 HTTP/1.1\r\nHost: api.test\r\n\r\n"},
		{name: "a documented request without raw target and Host field", req: &traffic.HTTPRequest{
			Method: "GET", Url: "http://api.test/a?b=c", Version: "1.1", Host: "api.test",
		}, want: "GET /a?b=c HTTP/1.1\r\nHost: api.test\r\n\r\n"},
		{name: "the target's name", rewrite: true, req: &traffic.HTTPRequest{
			Method: "OPTIONS", Uri: "*", Version: "1.1", Host: "api.test", Headers: headers("Host", "api.test"),
		}, want: "OPTIONS * HTTP/1.1\r\nHost: TARGET\r\n\r\n"},
		{name: "HTTP/1.0", req: &traffic.HTTPRequest{
			Method: "GET", Uri: "/", Version: "1.0", Host: "api.test", Headers: headers("Host", "api.test"),
		}, want: "GET / HTTP/1.0\r\nHost: api.test\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := newRawServer(t, func(conn, n int) (string, bool) { return okResponse, true })
			addr := server.Addr().String()
			p := &traffic.RRPair{L7Protocol: traffic.HTTPProtocol, NetworkAddress: "api.test:80", Http: &traffic.HTTP{Req: tt.req, Res: &traffic.HTTPResponse{StatusCode: 200}}}
			if _, err := generator.Run(t.Context(), generator.Options{Actions: pairs(p), Target: target(t, "http://"+addr), RewriteHost: tt.rewrite}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.ReplaceAll(tt.want, "TARGET", addr), server.received()); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSkippedRequests(t *testing.T) {
	cut := exchange("POST", "/cut", "a", 0, "ab", "ok")
	cut.Http.Req.BodySize = 1 << 21
	upgrade := get("/socket", "a", 0)
	upgrade.Http.Req.Headers = append(upgrade.Http.Req.Headers, &traffic.Header{Name: "Upgrade", Value: "websocket"})
	split := get("/split", "a", 0)
	split.Http.Req.Headers = append(split.Http.Req.Headers, &traffic.Header{Name: "X-A", Value: "b\r\nX-Injected: c"})
	line := get("/a b", "a", 0)
	connect := get("/", "a", 0)
	connect.Http.Req.Method = "CONNECT"
	server := newRawServer(t, func(conn, n int) (string, bool) { return okResponse, false })
	s, err := generator.Run(t.Context(), generator.Options{
		Actions: pairs(cut, upgrade, split, line, connect, &traffic.RRPair{L7Protocol: "postgres"}, get("/good", "a", 0)),
		Target:  target(t, server.Addr().String()),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{generator.SkipCut: 1, generator.SkipUpgrade: 2, generator.SkipMalformed: 2, generator.SkipUnsupported: 1}
	if diff := cmp.Diff(want, s.SkippedBy); diff != "" || s.Sent != 1 {
		t.Errorf("sent %d, skipped (-want +got):\n%s", s.Sent, diff)
	}
	if got := server.received(); strings.Contains(got, "Injected") || !strings.HasPrefix(got, "GET /good ") {
		t.Errorf("sent %q", got)
	}
}

// TestStaleConnection: a server may end an idle connection at any time. What may
// be repeated is sent again; what may not is an error.
func TestStaleConnection(t *testing.T) {
	tests := []struct {
		method          string
		retried, errors int64
	}{{"GET", 1, 0}, {"PUT", 1, 0}, {"POST", 0, 1}}
	for _, tt := range tests {
		t.Run(tt.method, func(t *testing.T) {
			// The first connection answers once, reads the next request, and closes.
			server := newRawServer(t, func(conn, n int) (string, bool) {
				if conn == 0 && n == 1 {
					return "", true
				}
				return okResponse, false
			})
			s, err := generator.Run(t.Context(), generator.Options{
				Actions: pairs(exchange(tt.method, "/1", "a", 0, "", "ok"), exchange(tt.method, "/2", "a", ms, "", "ok")),
				Target:  target(t, server.Addr().String()),
			})
			if err != nil {
				t.Fatal(err)
			}
			if s.Retried != tt.retried || s.ErrorsBy[generator.ErrorClosed] != tt.errors || s.Sent != 2 {
				t.Errorf("sent %d, retried %d, errors %v; want retried %d, closed %d", s.Sent, s.Retried, s.ErrorsBy, tt.retried, tt.errors)
			}
		})
	}
}

// TestIdleConnectionThatEnded: an end that came while the connection was idle is
// seen before anything is sent on it, so that a POST is safe too.
func TestIdleConnectionThatEnded(t *testing.T) {
	server := newRawServer(t, func(conn, n int) (string, bool) { return okResponse, true })
	s, err := generator.Run(t.Context(), generator.Options{
		Actions: pairs(exchange("POST", "/1", "a", 0, "", "ok"), exchange("POST", "/2", "a", 700*ms, "", "ok")),
		Target:  target(t, server.Addr().String()),
	})
	if err != nil || s.Passed != 2 || s.Retried != 0 || s.Connections != 2 {
		t.Errorf("%v, passed %d, retried %d, on %d connections; want 2, 0, 2", err, s.Passed, s.Retried, s.Connections)
	}
}

func TestErrorsAreResults(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	answer := func(s string) string {
		return newRawServer(t, func(conn, n int) (string, bool) { return s, true }).Addr().String()
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = nil
	defer untrusted.Close()
	tests := []struct{ target, class string }{
		{"http://" + closed.Addr().String(), generator.ErrorRefused},
		{"http://name.invalid", generator.ErrorName},
		{"http://" + answer("SSH-2.0-OpenSSH_9.2\r\n"), generator.ErrorMalformed},
		{"http://" + answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"), generator.ErrorClosed},
		{"http://" + answer(""), generator.ErrorClosed},
		{"https://" + plain.Listener.Addr().String(), generator.ErrorTLS},
		{untrusted.URL, generator.ErrorTLS},
	}
	for _, tt := range tests {
		var got []report.Result
		s, err := generator.Run(t.Context(), generator.Options{
			Actions: pairs(get("/", "a", 0)), Target: target(t, tt.target), Observe: func(r report.Result) { got = append(got, r) },
		})
		if err != nil {
			t.Fatal(err)
		}
		if s.ErrorsBy[tt.class] != 1 || s.Errors != 1 || len(got) != 1 || got[0].Observed != nil || !strings.HasPrefix(got[0].Err.Error(), tt.class) {
			t.Errorf("%s: errors %v, result %+v; want one of class %s", tt.target, s.ErrorsBy, got, tt.class)
		}
	}
}

// TestLargeEcho: a server that answers while it still reads would wait for us
// for ever if we wrote all before reading.
func TestLargeEcho(t *testing.T) {
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		io.Copy(w, r.Body)
	}))
	defer echo.Close()
	body := strings.Repeat("0123456789abcdef", 500_000)
	p := exchange("POST", "/", "a", 0, body, body)
	s, err := generator.Run(t.Context(), generator.Options{
		Actions: pairs(p), Target: target(t, echo.URL), MaxBody: 16 << 20, Timeout: 20 * time.Second,
		Observe: func(r report.Result) {
			if r.Err != nil || !bytes.Equal(r.Observed.Http.Res.Body, []byte(body)) {
				t.Errorf("error %v, or another body", r.Err)
			}
		},
	})
	if err != nil || s.Sent != 1 {
		t.Fatal(err, s)
	}
}

func TestParseTarget(t *testing.T) {
	recorded := get("/", "a", 0) // shop.example.com:8080
	tests := []struct{ in, want string }{
		{"http://localhost:9090", "localhost:9090"}, {"localhost:9090", "localhost:9090"}, {"localhost", "localhost:8080"},
		{":9090", "shop.example.com:9090"}, {"http://localhost", "localhost:80"}, {"http:", "shop.example.com:8080"},
		{"http://[::1]:80/", "[::1]:80"},
	}
	for _, tt := range tests {
		var dialled string
		_, err := generator.Run(t.Context(), generator.Options{
			Actions: pairs(recorded), Target: target(t, tt.in),
			Dial: dialFunc(func(addr string) { dialled = addr }),
		})
		if err != nil || dialled != tt.want {
			t.Errorf("target %q: dialled %q, %v; want %q", tt.in, dialled, err, tt.want)
		}
	}
	for _, bad := range []string{"", "ftp://a", "http://a/path", "http://a?q", "http://u:p@a", "http://u:p@a:b:c", "http://a:b:c", "://"} {
		if u, err := generator.ParseTarget(bad); err == nil {
			t.Errorf("target %q was read as %v", bad, u)
		} else if strings.Contains(err.Error(), "u:p") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

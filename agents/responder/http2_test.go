package responder_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/proxyproto"
	"github.com/speedscale/speedscale/agents/responder"
	"github.com/speedscale/speedscale/traffic"
)

// message is a gRPC message with its prefix, as it is recorded.
func message(t testing.TB, m proto.Message) string {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string([]byte{0, byte(len(b) >> 24), byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}) + string(b)
}

func recordedGRPC(t testing.TB, method, req, res string, trailers ...string) *traffic.RRPair {
	p := recorded("POST", method, req, res, "content-type", "application/grpc", "x-reply", "1")
	p.L7Protocol = traffic.GRPCProtocol
	p.Http.Req.Version, p.Http.Res.Version = "2.0", "2.0"
	p.Http.Req.Headers = headers("content-type", "application/grpc", "te", "trailers")
	p.Http.Res.Trailers = headers(trailers...)
	return p
}

func TestGRPC(t *testing.T) {
	watch := func(s healthpb.HealthCheckResponse_ServingStatus) string {
		return message(t, &healthpb.HealthCheckResponse{Status: s})
	}
	failed := recordedGRPC(t, "/grpc.health.v1.Health/Check", message(t, &healthpb.HealthCheckRequest{Service: "gone"}), "")
	failed.Http.Res.Headers = headers("content-type", "application/grpc", "grpc-status", "5", "grpc-message", "unknown service")
	r, addr := start(t, responder.Options{Reactions: pairs(
		recordedGRPC(t, "/grpc.health.v1.Health/Check", message(t, &healthpb.HealthCheckRequest{Service: "shop"}),
			watch(healthpb.HealthCheckResponse_NOT_SERVING), "grpc-status", "0", "x-end", "2"),
		failed,
		recordedGRPC(t, "/grpc.health.v1.Health/Watch", message(t, &healthpb.HealthCheckRequest{Service: "shop"}),
			watch(healthpb.HealthCheckResponse_SERVING)+watch(healthpb.HealthCheckResponse_UNKNOWN), "grpc-status", "0"),
	)})
	for name, header := range map[string]*proxyproto.Header{"by authority": nil, "by header": {SliceKey: "shop:api.test:80", ALPN: "h2"}} {
		t.Run(name, func(t *testing.T) {
			conn, err := grpc.NewClient("passthrough:///api.test", grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
					if err == nil && header != nil {
						_, err = nc.Write(header.AppendTo(nil))
					}
					return nc, err
				}))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			c := healthpb.NewHealthClient(conn)
			var head, tail metadata.MD
			res, err := c.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "shop"}, grpc.Header(&head), grpc.Trailer(&tail))
			if err != nil || res.Status != healthpb.HealthCheckResponse_NOT_SERVING || head.Get("x-reply")[0] != "1" || tail.Get("x-end")[0] != "2" {
				t.Errorf("%v, %v, header %v, trailer %v", res, err, head, tail)
			}
			if _, err := c.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "gone"}); status.Code(err) != codes.NotFound || status.Convert(err).Message() != "unknown service" {
				t.Errorf("a recorded error: %v", err)
			}
			if _, err := c.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "new"}); status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "no recorded response") {
				t.Errorf("a miss: %v", err)
			}
			stream, err := c.Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "shop"})
			if err != nil {
				t.Fatal(err)
			}
			var got []healthpb.HealthCheckResponse_ServingStatus
			for {
				m, err := stream.Recv()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, m.Status)
			}
			if len(got) != 2 || got[0] != healthpb.HealthCheckResponse_SERVING || got[1] != healthpb.HealthCheckResponse_UNKNOWN {
				t.Errorf("streamed %v", got)
			}
		})
	}
	if s := r.Stats(); s.Matched != 6 || s.Missed != 2 || len(s.Misses) != 1 {
		t.Errorf("stats %+v", s)
	}
}

// TestTLS: the responder opens TLS where it has a certificate, goes by SNI where
// there is no Host to go by, and speaks what ALPN chooses.
func TestTLS(t *testing.T) {
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS() // for its certificate, of example.com
	defer cert.Close()
	_, addr := start(t, responder.Options{
		// The plain port answers otherwise, as many hosts do.
		Reactions: pairs(at(recorded("GET", "/", "", "moved"), "shop", "example.com", "80"), at(recorded("GET", "/", "", "ok"), "shop", "example.com", "443")),
		TLS:       &tls.Config{Certificates: cert.TLS.Certificates},
	})
	if _, body := fetch(t, client(t, addr, nil), "GET", "http://example.com/", ""); body != "moved" {
		t.Errorf("without TLS: %q", body)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert.Certificate())
	for _, h2 := range []bool{false, true} {
		transport := &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: "example.com"},
			ForceAttemptHTTP2: h2,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, addr)
			},
		}
		for _, url := range []string{"https://example.com/", "https://127.0.0.1/"} {
			res, err := (&http.Client{Transport: transport}).Get(url)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != 200 || string(body) != "ok" || (res.ProtoMajor == 2) != h2 {
				t.Errorf("%s: %d %q over %s", url, res.StatusCode, body, res.Proto)
			}
		}
		transport.CloseIdleConnections()
	}
}

func TestHTTP2Heads(t *testing.T) {
	head := recorded("HEAD", "/head", "", "", "Content-Length", "500")
	none := recorded("GET", "/none", "", "", "X-A", "b")
	none.Http.Res.StatusCode = 204
	inChunks := recorded("GET", "/chunks", "", "hello", "Transfer-Encoding", "chunked", "Connection", "X-Hop", "X-Hop", "1")
	_, addr := start(t, responder.Options{Reactions: pairs(head, none, inChunks)})
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport}
	res, err := c.Head("http://api.test/head")
	if err != nil || res.ContentLength != 500 || res.Header.Get("Date") != "" || res.Header.Get("Content-Type") != "" {
		t.Errorf("HEAD: %+v, %v", res, err)
	}
	if res, err = c.Get("http://api.test/none"); err != nil || res.StatusCode != 204 || res.Header.Get("X-A") != "b" {
		t.Errorf("204: %+v, %v", res, err)
	}
	res, err = c.Get("http://api.test/chunks")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); string(b) != "hello" || len(res.Header) != 1 || res.ContentLength != 5 && res.ContentLength != -1 {
		t.Errorf("chunks: %q with %v", b, res.Header)
	}
}

// TestRealClients runs clients that nobody here wrote.
func TestRealClients(t *testing.T) {
	r, addr := start(t, responder.Options{Reactions: pairs(recorded("GET", "/", "", "ok"))})
	port := serve(t, func(ctx context.Context, l net.Listener) error { return r.ServeSlice(ctx, l, "shop:api.test:80") })
	run := func(want string, args ...string) {
		t.Helper()
		if _, err := exec.LookPath(args[0]); err != nil {
			t.Logf("%s is not installed", args[0])
			return
		}
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
	run("ok", "curl", "-sS", "-f", "-H", "Host: api.test", "http://"+addr+"/")
	run("ok", "curl", "-sS", "-f", "--http2-prior-knowledge", "-H", "Host: api.test", "http://"+addr+"/")
	run("2000 succeeded", "h2load", "-n", "2000", "-c", "10", "-m", "10", "-H", ":authority: api.test", "http://"+addr+"/")
	run("2000 succeeded", "h2load", "--h1", "-n", "2000", "-c", "10", "-m", "5", "http://"+port+"/")
	run("requests in", "wrk", "-t1", "-c50", "-d1s", "-H", "Host: api.test", "http://"+addr+"/")
	if s := r.Stats(); s.Missed != 0 || s.Matched < 4000 {
		t.Errorf("matched %d, missed %d: %+v", s.Matched, s.Missed, s.Misses)
	}
}

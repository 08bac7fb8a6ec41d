package generator_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mccutchen/go-httpbin/v2/httpbin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/generator"
	"github.com/speedscale/speedscale/agents/http1"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/report"
)

// record sends a request as its bytes and makes the pair of it.
func record(t testing.TB, addr, method, uri, body string, kv ...string) *traffic.RRPair {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	req := &traffic.HTTPRequest{
		Url: "http://" + addr + uri, Uri: uri, Version: "1.1", Method: method, Host: addr,
		Headers: []*traffic.Header{{Name: "Host", Value: addr}, {Name: "User-Agent", Value: "test"}},
		Body:    []byte(body), BodySize: int64(len(body)),
	}
	for i := 0; i < len(kv); i += 2 {
		req.Headers = append(req.Headers, &traffic.Header{Name: kv[i], Value: kv[i+1]})
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", method, uri)
	for _, h := range req.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h.Name, h.Value)
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	if _, err := io.WriteString(nc, b.String()+"\r\n"+body); err != nil {
		t.Fatal(err)
	}
	var m http1.Message
	if err := http1.NewReader(nc).ReadResponse(method, &m); err != nil {
		t.Fatalf("%s %s: %v", method, uri, err)
	}
	head := string(m.Head)
	res := &traffic.HTTPResponse{StatusCode: int32(m.Status), StatusMessage: m.Start[2].In(head), Body: append([]byte(nil), m.Body...), BodySize: m.BodySize, Version: "1.1"}
	for _, f := range m.Fields {
		res.Headers = append(res.Headers, &traffic.Header{Name: f.Name.In(head), Value: f.Value.In(head)})
	}
	for _, f := range m.TrailerFields {
		res.Trailers = append(res.Trailers, &traffic.Header{Name: f.Name.In(string(m.Trailer)), Value: f.Value.In(string(m.Trailer))})
	}
	res.ContentType, _ = traffic.HeaderValue(res.Headers, "Content-Type")
	return &traffic.RRPair{
		Uuid: traffic.NewUUID(), Ts: time.Now().UnixNano(), Direction: traffic.Direction_DIRECTION_IN, Service: "s",
		L7Protocol: traffic.HTTPProtocol, Command: method, Location: strings.Split(uri, "?")[0], NetworkAddress: addr,
		Http: &traffic.HTTP{Req: req, Res: res},
	}
}

// failures collects what is not as recorded.
type failures struct {
	mu   sync.Mutex
	list []string
}

func (f *failures) observe(r report.Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Err != nil {
		f.list = append(f.list, fmt.Sprintf("%s: %v", r.Recorded.Location, r.Err))
	}
	for _, d := range r.Differences {
		f.list = append(f.list, fmt.Sprintf("%s: %v", r.Recorded.Location, d))
	}
}

func nginx(t *testing.T, www string) string {
	t.Helper()
	bin, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("SKIPPED: nginx is not installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	dir := t.TempDir()
	user := ""
	if os.Getuid() == 0 {
		user = "user root;" // who can read the test's folders
	}
	conf := user + fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s/pid; error_log %[1]s/err;
events {} http { access_log off; gzip on; gzip_min_length 1; gzip_types text/plain; keepalive_requests 7;
client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
server { listen %[2]s; root %[3]s; location /moved { return 302 /elsewhere; } location /empty { return 204; } } }`, dir, addr, www)
	file := filepath.Join(dir, "conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-e", filepath.Join(dir, "err"), "-c", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(os.Interrupt); cmd.Wait() })
	for range 100 {
		if nc, err := net.Dial("tcp", addr); err == nil {
			nc.Close()
			return addr
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("nginx does not answer")
	return ""
}

// TestNginx replays against nginx, which ends each connection after 7 requests,
// and then against changed files.
func TestNginx(t *testing.T) {
	www := t.TempDir()
	for i := range 20 {
		os.WriteFile(filepath.Join(www, fmt.Sprintf("f%d.txt", i)), []byte(strings.Repeat(fmt.Sprint(i), 1000*i)), 0o644)
	}
	addr := nginx(t, www)
	var list []*traffic.RRPair
	for i := range 20 {
		p := record(t, addr, "GET", fmt.Sprintf("/f%d.txt", i), "")
		if p.Http.Res.StatusCode != 200 {
			t.Fatalf("nginx answers %d", p.Http.Res.StatusCode)
		}
		list = append(list, p)
	}
	list = append(list, record(t, addr, "GET", "/f9.txt", "", "Accept-Encoding", "gzip"), record(t, addr, "HEAD", "/f9.txt", ""),
		record(t, addr, "GET", "/none", ""), record(t, addr, "GET", "/moved", ""), record(t, addr, "GET", "/empty", ""),
		record(t, addr, "GET", "/f9.txt", "", "Range", "bytes=1-9"))
	for name, plan := range map[string]generator.Plan{"open": {Rate: 400, Times: 4}, "closed": {VUs: 4, Times: 3}} {
		t.Run(name, func(t *testing.T) {
			var f failures
			s, err := generator.Run(t.Context(), generator.Options{Actions: pairs(list...), Target: target(t, addr), Plan: plan, Observe: f.observe})
			if err != nil || s.Passed != s.Sent || s.Sent < 26*4 {
				t.Errorf("%v, passed %d of %d:\n%s", err, s.Passed, s.Sent, strings.Join(f.list, "\n"))
			}
			if s.Connections < s.Sent/8 {
				t.Errorf("%d connections for %d requests, of which nginx takes 7 on each", s.Connections, s.Sent)
			}
		})
	}
	os.WriteFile(filepath.Join(www, "f3.txt"), []byte("changed"), 0o644)
	os.Remove(filepath.Join(www, "f4.txt"))
	b := report.NewBuilder(nil, report.Options{Target: addr})
	s, err := generator.Run(t.Context(), generator.Options{Actions: pairs(list...), Target: target(t, addr), Plan: generator.Plan{VUs: 1}, Report: b})
	r := b.Finish()
	if err != nil || s.Failed != 2 || r.Status != report.MissedGoals || r.Requests.Failed != 2 || len(r.Failures) != 2 {
		t.Fatalf("%v, %+v, report %+v", err, s, r)
	}
	if f := r.Failures[0]; f.Path != "/f3.txt" || f.Differences[0].Location != "http.res.body" {
		t.Errorf("failure %+v", f)
	}
	if f := r.Failures[1]; f.Path != "/f4.txt" || f.Differences[0].Location != "http.res.statusCode" || f.Differences[0].Observed != "404" {
		t.Errorf("failure %+v", f)
	}
}

// TestHTTPBin replays against a server that nobody here wrote.
func TestHTTPBin(t *testing.T) {
	srv := httptest.NewServer(httpbin.New())
	defer srv.Close()
	addr := srv.Listener.Addr().String()
	var list []*traffic.RRPair
	for _, uri := range []string{
		"/get?a=1&b=%2F", "/json", "/headers", "/html", "/xml", "/status/418", "/gzip", "/deflate", "/stream/3", "/bytes/100?seed=1",
		"/redirect/1", "/cookies/set?k=v", "/response-headers?X-A=b&X-A=c", "/links/3", "/base64/aGVsbG8=", "/range/50", "/delay/0.01", "/uuid", "/ip",
	} {
		list = append(list, record(t, addr, "GET", uri, ""))
	}
	list = append(list,
		record(t, addr, "POST", "/post", `{"a":[1,2,{"b":null}]}`, "Content-Type", "application/json"),
		record(t, addr, "POST", "/post", "a=1&b=2", "Content-Type", "application/x-www-form-urlencoded"),
		record(t, addr, "PUT", "/put", strings.Repeat("x", 100_000), "Content-Type", "text/plain"),
		record(t, addr, "DELETE", "/delete", ""), record(t, addr, "PATCH", "/patch", "{}"), record(t, addr, "OPTIONS", "/get", ""),
	)
	var f failures
	s, err := generator.Run(t.Context(), generator.Options{
		Actions: pairs(list...), Target: target(t, srv.URL), Plan: generator.Plan{VUs: 3, Times: 2}, Observe: f.observe,
		Comparer: compare.New(compare.Config{IgnorePaths: []string{"uuid", "origin"}}),
	})
	if err != nil || s.Passed != s.Sent || s.Sent != int64(6*len(list)) {
		t.Errorf("%v, passed %d of %d:\n%s", err, s.Passed, s.Sent, strings.Join(f.list, "\n"))
	}
}

// TestHTTP2 replays over HTTP/2 with prior knowledge and over TLS.
func TestHTTP2(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("%s came over %s", r.RequestURI, r.Proto)
		}
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprintf(w, "%s %s %s %s %q", r.Method, r.RequestURI, r.Header.Get("X-A"), r.Header.Get("User-Agent"), body)
		w.Header().Set("X-Sum", fmt.Sprint(len(body)))
	})
	plain := httptest.NewUnstartedServer(handler)
	plain.Config.Protocols = new(http.Protocols)
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	plain.Start()
	defer plain.Close()
	secure := httptest.NewUnstartedServer(handler)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.Close()

	pair := func(method, uri, body, want, sum string) *traffic.RRPair {
		p := exchange(method, uri, "", 0, body, want)
		p.Http.Req.Version = "2.0"
		p.Http.Req.Headers = []*traffic.Header{{Name: ":authority", Value: "shop"}, {Name: "x-a", Value: "b"}}
		p.Http.Res.Headers = []*traffic.Header{{Name: "content-type", Value: "text/plain"}}
		p.Http.Res.Trailers = []*traffic.Header{{Name: "x-sum", Value: sum}}
		return p
	}
	list := []*traffic.RRPair{
		pair("GET", "/a%2Fb/../c?q=%20&&", "", `GET /a%2Fb/../c?q=%20&& b  ""`, "0"),
		pair("POST", "/p?", "hello", `POST /p? b  "hello"`, "5"),
	}
	for _, srv := range []*httptest.Server{plain, secure} {
		var f failures
		s, err := generator.Run(t.Context(), generator.Options{
			Actions: pairs(list...), Target: target(t, srv.URL), Plan: generator.Plan{VUs: 4, Times: 5}, Observe: f.observe,
			TLS: srv.Client().Transport.(*http.Transport).TLSClientConfig,
		})
		if err != nil || s.Passed != 40 {
			t.Errorf("%s: %v, passed %d of %d:\n%s", srv.URL, err, s.Passed, s.Sent, strings.Join(f.list, "\n"))
		}
	}
	list[1].Http.Res.Trailers[0].Value = "6"
	var f failures
	s, err := generator.Run(t.Context(), generator.Options{Actions: pairs(list...), Target: target(t, plain.URL), Observe: f.observe})
	if err != nil || s.Failed != 1 || len(f.list) != 1 || !strings.Contains(f.list[0], "http.res.trailers.x-sum") {
		t.Errorf("a trailer that differs: %v, failed %d, %q", err, s.Failed, f.list)
	}
}

func TestGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	checks := health.NewServer()
	checks.SetServingStatus("shop", healthpb.HealthCheckResponse_SERVING)
	srv := grpc.NewServer()
	healthpb.RegisterHealthServer(srv, checks)
	go srv.Serve(l)
	defer srv.Stop()
	message := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return append([]byte{0, 0, 0, 0, byte(len(b))}, b...)
	}
	check := func(service string, res []byte, status string) *traffic.RRPair {
		p := exchange("POST", "/grpc.health.v1.Health/Check", "", 0, "", "")
		p.L7Protocol = traffic.GRPCProtocol
		p.Http.Req.Version, p.Http.Res.Version = "2.0", "2.0"
		p.Http.Req.Headers = []*traffic.Header{{Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"}, {Name: "grpc-timeout", Value: "5S"}}
		p.Http.Req.Body = message(&healthpb.HealthCheckRequest{Service: service})
		p.Http.Req.BodySize = int64(len(p.Http.Req.Body))
		p.Http.Res = &traffic.HTTPResponse{StatusCode: 200, Version: "2.0", ContentType: "application/grpc",
			Headers: []*traffic.Header{{Name: "content-type", Value: "application/grpc"}}, Body: res, BodySize: int64(len(res)),
			Trailers: []*traffic.Header{{Name: "grpc-status", Value: status}, {Name: "grpc-message", Value: ""}}}
		return p
	}
	serving := check("shop", message(&healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}), "0")
	unknown := check("none", nil, "")
	unknown.Http.Res.Headers = append(unknown.Http.Res.Headers, &traffic.Header{Name: "grpc-status", Value: "5"}, &traffic.Header{Name: "grpc-message", Value: "unknown service"})
	unknown.Http.Res.Trailers = nil
	run := func() (*generator.Summary, []string) {
		var f failures
		s, err := generator.Run(t.Context(), generator.Options{
			Actions: pairs(serving, unknown), Target: target(t, "http://"+l.Addr().String()), Plan: generator.Plan{Rate: 200, Times: 10}, Observe: f.observe,
		})
		if err != nil {
			t.Fatal(err)
		}
		return s, f.list
	}
	if s, f := run(); s.Passed != 20 {
		t.Errorf("passed %d of %d: %q", s.Passed, s.Sent, f)
	}
	checks.SetServingStatus("shop", healthpb.HealthCheckResponse_NOT_SERVING)
	if s, f := run(); s.Failed != 10 || s.Passed != 10 || !strings.Contains(f[0], "http.res.body") {
		t.Errorf("with another status: failed %d, %q", s.Failed, f)
	}
}

// TestMaskedSnapshot: responses are masked as the recorded ones were.
func TestMaskedSnapshot(t *testing.T) {
	const secret = "hunter2-hunter2"
	token := secret
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"user":"ann","token":%q}`, token)
	}))
	defer srv.Close()
	p := record(t, srv.Listener.Addr().String(), "GET", "/me", "", "Authorization", "Bearer "+secret)
	masker, err := mask.New(mask.Standard(), mask.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := masker.Mask(p); err != nil || strings.Contains(p.String(), secret) {
		t.Fatalf("%v, or the snapshot has the secret: %v", err, p)
	}
	run := func() (*generator.Summary, string) {
		b := report.NewBuilder(nil, report.Options{Target: srv.URL})
		s, err := generator.Run(t.Context(), generator.Options{Actions: pairs(p), Target: target(t, srv.URL), Masker: masker, Report: b})
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := b.Finish().WriteJSON(&text); err != nil {
			t.Fatal(err)
		}
		return s, text.String()
	}
	if s, text := run(); s.Passed != 1 {
		t.Errorf("the same response is not alike: %s", text)
	}
	token = "other-other-other"
	s, text := run()
	if s.Failed != 1 || !strings.Contains(text, "http.res.body.token") {
		t.Errorf("another token passed: %s", text)
	}
	if strings.Contains(text, token) {
		t.Errorf("the report shows the token: %s", text)
	}
}

// TestCutResponse: of a recorded body that was cut, what was kept is compared.
func TestCutResponse(t *testing.T) {
	server := newRawServer(t, func(conn, n int) (string, bool) { return okResponse, false })
	cut := func(kept string) *traffic.RRPair {
		p := exchange("GET", "/", "", 0, "", kept)
		p.Http.Res.BodySize = 2
		return p
	}
	s, err := generator.Run(t.Context(), generator.Options{Actions: pairs(cut("o"), cut("x")), Target: target(t, server.Addr().String())})
	if err != nil || s.Passed != 1 || s.Failed != 1 {
		t.Errorf("%v, passed %d, failed %d; want 1, 1", err, s.Passed, s.Failed)
	}
}

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/traffic/report"
)

// httpbinDiffers are the fields of go-httpbin's answers that differ between any two
// runs: its clock, its random values, and the addresses and the timing of a
// connection; and its echo of two hop-by-hop fields, which a replay does not send.
var httpbinDiffers = []string{"Date", "origin", "uuid", "X-Request-Id", "Server-Timing", "headers.Expect", "headers.Te"}

// httpbinRequests exercise every framing and coding that go-httpbin has.
func httpbinRequests(base string) []*http.Request {
	var reqs []*http.Request
	add := func(method, path, body string, headers ...string) {
		r, err := http.NewRequest(method, base+path, strings.NewReader(body))
		if err != nil {
			panic(err)
		}
		if body == "" {
			r.Body = nil
			r.ContentLength = 0
		}
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		reqs = append(reqs, r)
	}
	add("GET", "/get?a=1&b=two&a=3", "", "X-Custom", "one")
	add("HEAD", "/get", "")
	add("POST", "/post", `{"sku":"tea","quantity":2,"nested":{"list":[1,2.50,null,true]}}`, "Content-Type", "application/json")
	add("POST", "/post", "name=ann&city=k%C3%B6ln", "Content-Type", "application/x-www-form-urlencoded")
	add("PUT", "/put", "plain text", "Content-Type", "text/plain")
	add("PATCH", "/patch", `[{"op":"add"}]`, "Content-Type", "application/json")
	add("DELETE", "/delete", "")
	add("GET", "/gzip", "", "Accept-Encoding", "gzip")
	add("GET", "/deflate", "", "Accept-Encoding", "deflate")
	add("GET", "/stream/5", "")
	add("GET", "/stream-bytes/4096?seed=7&chunk_size=512", "")
	add("GET", "/bytes/2048?seed=42", "")
	add("GET", "/range/1024", "", "Range", "bytes=100-299")
	add("GET", "/status/418", "")
	add("GET", "/status/204", "")
	add("GET", "/status/500", "")
	add("GET", "/redirect-to?url=/get&status_code=307", "")
	add("GET", "/cookies/set?flavour=oat", "")
	add("GET", "/response-headers?X-One=1&X-Two=2", "")
	add("GET", "/etag/abc", "", "If-None-Match", `"abc"`)
	add("GET", "/uuid", "")
	add("GET", "/base64/aGVsbG8=", "")
	add("GET", "/html", "")
	add("GET", "/image/png", "")
	add("GET", "/xml", "")
	add("GET", "/encoding/utf8", "")
	add("GET", "/drip?duration=0.2&numbytes=10&code=200", "")
	add("GET", "/delay/0.05", "")
	add("GET", "/trailers?Checksum=42", "", "TE", "trailers")
	return reqs
}

// TestHTTPBinInbound captures go-httpbin in front of it, and replays against it.
func TestHTTPBinInbound(t *testing.T) {
	need(t, "curl", "h2load")
	addr, port := freeAddr(t)
	inAddr, inPort := freeAddr(t)
	launch(t, os.Environ(), bin("go-httpbin"), "-host", "127.0.0.1", "-port", port).waitFor(addr)

	u := newUser(t)
	capture := u.start("capture", "httpbin", port, "--in-port", inPort, "--out-port", "0")
	capture.waitFor(inAddr)
	n := 0
	c := client(t)
	for _, req := range httpbinRequests("http://" + inAddr) {
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		n++
	}
	for _, args := range [][]string{
		{"-sS", "http://" + inAddr + "/anything/curl?x=1", "-d", "@-"},
		{"-sS", "-F", "file=@/etc/hostname;type=text/plain", "http://" + inAddr + "/post"},
		{"-sS", "--http1.0", "http://" + inAddr + "/get"},
		{"-sS", "-H", "Expect: 100-continue", "-d", strings.Repeat("x", 5000), "http://" + inAddr + "/post"},
	} {
		cmd := exec.Command("curl", args...)
		cmd.Stdin = strings.NewReader("from=curl")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("curl %v: %v\n%s", args, err, out)
		}
		n++
	}
	if out, err := exec.Command("h2load", "--h1", "-n", "200", "-c", "4", "http://"+inAddr+"/headers").CombinedOutput(); err != nil {
		t.Fatalf("h2load: %v\n%s", err, out)
	}
	n += 200
	out := capture.interrupt()
	if want := fmt.Sprintf("Captured %d inbound", n); !strings.Contains(out, want) {
		t.Fatalf("capture did not say %q:\n%s", want, out)
	}

	u.must("create", "snapshot", "--name", "httpbin")
	r := u.replay("httpbin", addr, httpbinDiffers)
	if r.Requests.Sent != int64(n) || r.Requests.Passed != int64(n) {
		t.Errorf("of %d requests %d were sent and %d passed", n, r.Requests.Sent, r.Requests.Passed)
	}
}

// replay replays a snapshot and wants it to pass.
func (u user) replay(snapshot, addr string, ignore []string, args ...string) *report.Report {
	u.t.Helper()
	args = append([]string{"replay", snapshot, "--test-against", "http://" + addr, "--speed", "20", "-o", "json"}, args...)
	for _, f := range ignore {
		args = append(args, "--ignore", f)
	}
	res := u.run(args...)
	r := &report.Report{}
	if err := json.Unmarshal([]byte(res.stdout), r); err != nil {
		u.t.Fatalf("the report: %v\n%s%s", err, res.stdout, res.stderr)
	}
	if res.code != 0 {
		for i, f := range r.Failures {
			if i < 10 {
				u.t.Logf("%s %s: %v %s", f.Method, f.URL, f.Differences, f.Error)
			}
		}
		u.t.Errorf("speedctl %s ended with %d\n%s", strings.Join(args, " "), res.code, res.stderr)
	}
	return r
}

// TestHTTPBinMocked captures a client of go-httpbin over HTTP and HTTPS, and lets
// the same client run again with the server gone and the mocks in its place.
func TestHTTPBinMocked(t *testing.T) {
	need(t, "curl", "openssl")
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	if out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=httpbin.test", "-addext", "subjectAltName=DNS:httpbin.test").CombinedOutput(); err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	plain, plainPort := freeAddr(t)
	secure, securePort := freeAddr(t)
	servers := []*background{
		launch(t, os.Environ(), bin("go-httpbin"), "-host", "127.0.0.1", "-port", plainPort),
		launch(t, os.Environ(), bin("go-httpbin"), "-host", "127.0.0.1", "-port", securePort, "-https-cert-file", cert, "-https-key-file", key),
	}
	servers[0].waitFor(plain)
	servers[1].waitFor(secure)
	// The client knows neither where the servers are nor our CA; --http1.1 and
	// --http2 are offered by ALPN, and both are captured.
	script := filepath.Join(dir, "client.sh")
	err := os.WriteFile(script, []byte(`set -e
for base in http://httpbin.test https://httpbin.test; do
	curl -sS --fail --http1.1 "$base/get?n=1"
	curl -sS --fail --http1.1 "$base/post" -H 'Content-Type: application/json' -d '{"a":1,"b":[true,null]}'
	curl -sS --fail "$base/stream/3"
	curl -sS --fail --compressed "$base/gzip"
	curl -sS --fail "$base/image/png" -o /dev/null
	curl -sS -o /dev/null "$base/status/503"
	curl -sS -I "$base/get"
done
`), 0o755)
	if err != nil {
		t.Fatal(err)
	}
	u := newUser(t)
	aliases := []string{"--host-alias", "httpbin.test:80=" + plain, "--host-alias", "httpbin.test:443=" + secure, "--upstream-ca", cert, "--out-port", "0"}
	captured := u.run(append(append([]string{"capture", "client"}, aliases...), "--", "sh", script)...)
	if captured.code != 0 || !strings.Contains(captured.stderr, "14 outbound") {
		t.Fatalf("capture ended with %d\n%s%s", captured.code, captured.stdout, captured.stderr)
	}
	u.must("create", "snapshot", "--name", "mocks")
	for _, s := range servers {
		s.kill()
	}
	mocked := u.run("mock", "mocks", "--out-port", "0", "--", "sh", script)
	if mocked.code != 0 || !strings.Contains(mocked.stderr, "14 matched, 0 missed") {
		t.Fatalf("mock ended with %d\n%s%s", mocked.code, mocked.stdout, mocked.stderr)
	}
	if got, want := withoutVolatile(mocked.stdout), withoutVolatile(captured.stdout); got != want {
		t.Errorf("the client saw another world when it was mocked:\n%s\nwant\n%s", got, want)
	}
}

// withoutVolatile drops what differs between the server's answer and the masked
// recording of it: nothing but addresses, which are not recorded as they were.
func withoutVolatile(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		if !strings.Contains(line, `"origin"`) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

package intercept_test

import (
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/agents/config/trust"
	"github.com/speedscale/speedscale/agents/intercept"
)

// TestRealClients: clients that others wrote trust the leaves by the variables of
// Env alone, and the roots that they had by then still count.
func TestRealClients(t *testing.T) {
	world := newAuthority(t, "World CA")
	server := serveHTTP(t, &tls.Config{Certificates: []tls.Certificate{world.issue("localhost")}})
	ca, _ := newCA(t)
	dir := t.TempDir()
	must(t, intercept.WriteTrust(dir, ca))
	base := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	trusting := append(base[:2:2], trust.Env(dir, base)...)
	trusting = append(trusting, "JAVA_TOOL_OPTIONS="+trust.JavaOptions(dir))

	goClient := buildGoClient(t)
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"curl h2", "HTTP/2.0", []string{"curl", "-sS", "--http2", "https://localhost:PORT/"}},
		{"curl http/1.1", "HTTP/1.1", []string{"curl", "-sS", "--http1.1", "https://localhost:PORT/"}},
		{"curl tls 1.2", "HTTP/2.0", []string{"curl", "-sS", "--tls-max", "1.2", "https://localhost:PORT/"}},
		{"openssl", "Verify return code: 0 (ok)", []string{"sh", "-c", "echo | openssl s_client -verify_return_error -verify_hostname localhost -connect localhost:PORT -servername localhost"}},
		{"node", "HTTP/1.1", []string{"node", "-e", `require('https').get('https://localhost:PORT/', r => r.on('data', d => process.stdout.write(d))).on('error', e => { console.error(e); process.exit(1) })`}},
		{"node h2", "HTTP/2.0", []string{"node", "-e", `const c = require('http2').connect('https://localhost:PORT'); c.on('error', e => { console.error(e); process.exit(1) }); const r = c.request({':path': '/'}); r.on('data', d => process.stdout.write(d)); r.on('end', () => c.close()); r.end()`}},
		{"python urllib", "HTTP/1.1", []string{"python3", "-c", `import urllib.request; print(urllib.request.urlopen("https://localhost:PORT/").read().decode())`}},
		{"python requests", "HTTP/1.1", []string{"python3", "-c", `import requests; print(requests.get("https://localhost:PORT/").text)`}},
		{"java", "HTTP/1.1", []string{"java", "testdata/Get.java", "https://localhost:PORT/"}},
		{"go", "HTTP/2.0", []string{goClient, "https://localhost:PORT/"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := exec.LookPath(c.args[0]); err != nil {
				t.Skipf("SKIPPED: %v", err)
			}
			if c.name == "python requests" && exec.Command("python3", "-c", "import requests").Run() != nil {
				t.Skip("SKIPPED: needs python's requests")
			}
			i := newInterceptor(t, intercept.Options{CA: ca, UpstreamCA: []string{world.file}})
			p := startProxy(t, server, outbound(i, "127.0.0.1:443"))
			_, port, _ := net.SplitHostPort(p.addr)
			command := func(env []string) (string, error) {
				args := append([]string(nil), c.args...)
				for n := range args {
					args[n] = strings.ReplaceAll(args[n], "PORT", port)
				}
				cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
				cmd.Env = env
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			out, err := command(trusting)
			if err != nil || !strings.Contains(out, c.want) {
				t.Errorf("%v\n%s", err, out)
			}
			// Java sends no server name for one without a dot.
			if n := count(i, "localhost", intercept.ReasonIntercepted) + count(i, "127.0.0.1", intercept.ReasonIntercepted); n != 1 {
				t.Errorf("not intercepted: %v", i.Counts())
			}
			// Without the variables it refuses, so that the test could fail.
			if out, err := command(base); err == nil {
				t.Errorf("trusted without the variables:\n%s", out)
			}
		})
	}
}

// TestUsualRootsStay: a bundle that takes the place of the roots has them all.
func TestUsualRootsStay(t *testing.T) {
	ca, _ := newCA(t)
	dir := t.TempDir()
	must(t, intercept.WriteTrust(dir, ca))
	bundle, err := os.ReadFile(filepath.Join(dir, trust.Bundle))
	must(t, err)
	usual, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	if got, want := strings.Count(string(bundle), "BEGIN CERT"), strings.Count(string(usual), "BEGIN CERT")+1; got != want || !strings.Contains(string(bundle), string(ca.CertPEM())) {
		t.Errorf("%d certificates in the bundle, want %d with ours", got, want)
	}
	if strings.Contains(string(bundle), "PRIVATE KEY") {
		t.Error("a key is in the bundle")
	}
	// A new CA takes the place of the one before.
	ca, _ = newCA(t)
	must(t, intercept.WriteTrust(dir, ca))
	if entries, _ := filepath.Glob(filepath.Join(dir, trust.Certs, "*")); len(entries) != 1 {
		t.Errorf("hashed certificates: %v", entries)
	}
}

// buildGoClient makes a program that fetches a URL, since this process has read
// the environment already.
func buildGoClient(t *testing.T) string {
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	must(t, os.WriteFile(source, []byte(`package main

import ("fmt"; "io"; "net/http"; "os")

func main() {
	r, err := http.Get(os.Args[1])
	if err != nil { fmt.Println(err); os.Exit(1) }
	b, _ := io.ReadAll(r.Body)
	fmt.Println(string(b))
}
`), 0o644))
	name := filepath.Join(dir, "client")
	cmd := exec.Command("go", "build", "-trimpath", "-o", name, source)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: no Go command: %v %s", err, out)
	}
	return name
}

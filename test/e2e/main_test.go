// Package e2e runs the real binaries against servers and clients that nobody here
// wrote. What needs a program that is missing says so and is skipped; on Debian,
// make test installs all of them.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binaries is the folder of what TestMain builds.
var binaries string

// TestMain runs the tests with binaries built anew. The test binary is a gRPC
// client too.
func TestMain(m *testing.M) {
	if target := os.Getenv("E2E_GRPC_CLIENT"); target != "" {
		if err := grpcClient(target); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "speedscale-e2e-")
	if err == nil {
		binaries = dir
		err = build(dir)
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// build compiles our programs and the third-party server with the race detector.
func build(dir string) error {
	const module = "github.com/speedscale/speedscale/"
	args := []string{"build", "-race", "-trimpath", "-o", dir, module + "speedctl", module + "cloud",
		module + "agents/cmd/goproxy", module + "agents/cmd/forwarder", module + "agents/cmd/responder", "github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin"}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func bin(name string) string { return filepath.Join(binaries, name) }

// need skips the test, loudly, where a program is not installed.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("SKIPPED: %s is not installed", p)
		}
	}
}

// user is somebody with a home of their own who runs speedctl.
type user struct {
	t    *testing.T
	home string
}

func newUser(t *testing.T) user { return user{t: t, home: t.TempDir()} }

// result of a command.
type result struct {
	stdout, stderr string
	code           int
}

// run runs speedctl to its end.
func (u user) run(args ...string) result {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin("speedctl"), args...)
	cmd.Env = u.env()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	r := result{stdout: stdout.String(), stderr: stderr.String()}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		r.code = exit.ExitCode()
	} else if err != nil {
		u.t.Fatalf("speedctl %s: %v\n%s", strings.Join(args, " "), err, r.stderr)
	}
	return r
}

// must runs speedctl and wants it to succeed. It returns standard output.
func (u user) must(args ...string) string {
	u.t.Helper()
	r := u.run(args...)
	if r.code != 0 {
		u.t.Fatalf("speedctl %s ended with %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return strings.TrimSpace(r.stdout)
}

func (u user) env() []string {
	return append(os.Environ(), "SPEEDSCALE_HOME="+u.home, "NO_COLOR=1")
}

// background is a program that runs beside the test.
type background struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
	err  error
}

// start starts speedctl beside the test.
func (u user) start(args ...string) *background {
	u.t.Helper()
	return launch(u.t, u.env(), bin("speedctl"), args...)
}

// launch starts a program; the test's end kills it.
func launch(t *testing.T, env []string, name string, args ...string) *background {
	t.Helper()
	b := &background{t: t, cmd: exec.Command(name, args...), out: &output{}, done: make(chan struct{})}
	b.cmd.Env = env
	b.cmd.Stdout, b.cmd.Stderr = b.out, b.out
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		b.err = b.cmd.Wait()
		close(b.done)
	}()
	t.Cleanup(b.kill)
	return b
}

func (b *background) kill() {
	b.cmd.Process.Kill()
	<-b.done
}

// interrupt ends the program as Ctrl-C does, and returns what it printed.
func (b *background) interrupt() string {
	b.t.Helper()
	b.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-b.done:
	case <-time.After(time.Minute):
		b.t.Fatalf("%s does not end\n%s", b.cmd.Path, b.out)
	}
	return b.out.String()
}

// waitFor waits until something accepts connections on addr.
func (b *background) waitFor(addr string) {
	b.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return
		}
		select {
		case <-b.done:
			b.t.Fatalf("%s ended before it listened on %s\n%s", b.cmd.Path, addr, b.out)
		case <-time.After(20 * time.Millisecond):
		}
	}
	b.t.Fatalf("%s does not listen on %s\n%s", b.cmd.Path, addr, b.out)
}

// output is what a program has printed so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// freeAddr returns a loopback address that was free a moment ago.
func freeAddr(t *testing.T) (addr, port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return l.Addr().String(), port
}

// client has a connection pool of its own.
func client(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

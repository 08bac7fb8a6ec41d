package initproxy_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Addresses of the two namespaces.
const (
	appV4, worldV4 = "198.18.77.2", "198.18.77.1"
	appV6, worldV6 = "fd00:77::2", "fd00:77::1"
	// The app's default gateway, which is the node in a cluster.
	nodeV4, nodeV6 = "198.18.77.254", "fd00:78::1"
)

// network is two namespaces with a cable between them: the app's, with goproxy, and
// the world.
type network struct {
	t          *testing.T
	app, world string
	binary     string // initproxy
	proxy      *process
	servers    *process
}

// sub is the same network for a subtest.
func (n *network) sub(t *testing.T) *network {
	s := *n
	s.t = t
	return &s
}

// setUp makes the network with a proxy of this test in it, and servers on both sides.
func setUp(t *testing.T) *network {
	n := lay(t)
	n.startServers()
	return n
}

// lay makes the namespaces and the cable, or skips the test.
func lay(t *testing.T) *network {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root to make network namespaces")
	}
	for _, tool := range []string{"ip", "nft", "setpriv", "curl", "nginx", "redis-server", "redis-cli", "getent", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: needs %s: %v", tool, err)
		}
	}
	id := fmt.Sprint(os.Getpid())
	n := &network{t: t, app: "ssapp-" + id, world: "ssworld-" + id, binary: filepath.Join(t.TempDir(), "initproxy")}
	run(t, "env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-o", n.binary, "../cmd/initproxy")
	for _, ns := range []string{n.app, n.world} {
		if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: no network namespaces here: %v: %s", err, out)
		}
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	}
	run(t, "ip", "link", "add", "eth0", "netns", n.app, "type", "veth", "peer", "name", "eth0", "netns", n.world)
	for ns, addrs := range map[string][2]string{n.app: {appV4, appV6}, n.world: {worldV4, worldV6}} {
		run(t, "ip", "-n", ns, "link", "set", "lo", "up")
		run(t, "ip", "-n", ns, "addr", "add", addrs[0]+"/24", "dev", "eth0")
		run(t, "ip", "-n", ns, "addr", "add", addrs[1]+"/64", "dev", "eth0", "nodad")
		run(t, "ip", "-n", ns, "link", "set", "eth0", "up")
	}
	run(t, "ip", "-n", n.world, "addr", "add", nodeV4+"/24", "dev", "eth0")
	run(t, "ip", "-n", n.world, "addr", "add", nodeV6+"/64", "dev", "eth0", "nodad")
	run(t, "ip", "-n", n.app, "route", "add", "fd00:78::/64", "dev", "eth0")
	run(t, "ip", "-n", n.app, "route", "add", "default", "via", nodeV4)
	run(t, "ip", "-n", n.app, "route", "add", "default", "via", nodeV6)
	// ip netns exec puts this file over /etc/resolv.conf.
	etc := filepath.Join("/etc/netns", n.app)
	must(t, os.MkdirAll(etc, 0o755))
	t.Cleanup(func() { os.RemoveAll(etc); os.Remove("/etc/netns") })
	must(t, os.WriteFile(filepath.Join(etc, "resolv.conf"), []byte("nameserver "+worldV4+"\n"), 0o644))
	return n
}

// public is a new directory that other users may look into.
func (n *network) public() string {
	dir, err := os.MkdirTemp("", "initproxy")
	must(n.t, err)
	n.t.Cleanup(func() { os.RemoveAll(dir) })
	must(n.t, os.Chmod(dir, 0o755))
	return dir
}

func (n *network) startServers() {
	self := n.self()
	n.servers = n.start(n.world, []string{role + "=world"}, self)
	n.expect(n.servers, "ready")
	n.nginx(n.world, "80", "81")
	n.nginx(n.app, "8080", "8081")
	n.start(n.world, nil, "redis-server", "--port", "6379", "--bind", worldV4, worldV6, "--protected-mode", "no", "--save", "", "--dir", n.t.TempDir())
	n.proxy = n.start(n.app, []string{role + "=proxy"}, "setpriv", "--reuid=2102", "--clear-groups", self)
	n.expect(n.proxy, "ready")
	n.until(n.world, "redis-cli", "-h", worldV4, "ping")
}

// self is a copy of this test that other users may run.
func (n *network) self() string {
	name := filepath.Join(n.public(), "role")
	b, err := os.ReadFile("/proc/self/exe")
	must(n.t, err)
	must(n.t, os.WriteFile(name, b, 0o755))
	return name
}

func (n *network) nginx(ns string, ports ...string) {
	dir := n.t.TempDir()
	var listen strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&listen, "listen %s; listen [::]:%s;\n", p, p)
	}
	conf := filepath.Join(dir, "nginx.conf")
	must(n.t, os.WriteFile(conf, fmt.Appendf(nil, `daemon off; master_process off; pid %s/pid; error_log stderr;
events {}
http { access_log off; client_body_temp_path %s; proxy_temp_path %s; fastcgi_temp_path %s; uwsgi_temp_path %s; scgi_temp_path %s;
server { %s location / { return 200 "$server_port $remote_addr"; } } }`, dir, dir, dir, dir, dir, dir, listen.String()), 0o644))
	n.start(ns, nil, "nginx", "-c", conf, "-p", dir)
	for _, p := range ports {
		n.until(ns, "curl", "-sf", "http://127.0.0.1:"+p)
	}
}

// process is a command in a namespace, and the lines that it printed.
type process struct {
	mu    sync.Mutex
	lines []string
}

func (n *network) start(ns string, env []string, args ...string) *process {
	n.t.Helper()
	cmd := exec.Command("ip", append([]string{"netns", "exec", ns}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p := new(process)
	out, err := cmd.StdoutPipe()
	must(n.t, err)
	var errs strings.Builder
	cmd.Stderr = &errs
	must(n.t, cmd.Start())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, s.Text())
			p.mu.Unlock()
		}
	}()
	n.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		<-done
		cmd.Wait()
		if n.t.Failed() && len(env) > 0 {
			n.t.Logf("%v: %v\n%s", env, p.lines, errs.String())
		}
	})
	return p
}

// expect waits for a line and forgets it with all before it, which it returns.
func (n *network) expect(p *process, line string) []string {
	n.t.Helper()
	for range 500 {
		p.mu.Lock()
		i := slices.Index(p.lines, line)
		if i >= 0 {
			before := p.lines[:i]
			p.lines = p.lines[i+1:]
			p.mu.Unlock()
			return before
		}
		p.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n.t.Fatalf("no line %q, but %q", line, p.lines)
	return nil
}

func (n *network) until(ns string, args ...string) {
	n.t.Helper()
	var err error
	for range 100 {
		if _, err = n.try(ns, args...); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	n.t.Fatalf("%v: %v", args, err)
}

func (n *network) try(ns string, args ...string) (string, error) {
	out, err := exec.Command("ip", append([]string{"netns", "exec", ns}, args...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return strings.TrimSpace(string(out)), err
}

// in runs a command in a namespace and returns what it printed.
func (n *network) in(ns string, args ...string) string {
	n.t.Helper()
	out, err := n.try(ns, args...)
	if err != nil {
		n.t.Fatalf("%v: %v", args, err)
	}
	return out
}

// apply runs initproxy in the app's namespace with the given settings.
func (n *network) apply(settings ...string) string {
	n.t.Helper()
	var args []string
	for len(settings) > 0 && strings.HasPrefix(settings[0], "--") {
		args, settings = append(args, settings[0]), settings[1:]
	}
	env := append([]string{"env", "LOG_LEVEL=error"}, settings...)
	return n.in(n.app, append(append(env, n.binary), args...)...)
}

// dial connects from within the app's namespace.
func (n *network) dial(addr string) *net.TCPConn {
	n.t.Helper()
	c, err := n.tryDial(addr)
	must(n.t, err)
	c.SetDeadline(time.Now().Add(10 * time.Second))
	n.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func (n *network) tryDial(addr string) (c net.Conn, err error) {
	err = inside(n.app, func() (err error) {
		c, err = net.DialTimeout("tcp", addr, 5*time.Second)
		return err
	})
	return c, err
}

// inside runs f on a thread that is in another namespace meanwhile. The thread goes
// on afterwards, since the processes that it started would end with it.
func inside(ns string, f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	away, err := os.Open("/run/netns/" + ns)
	if err != nil {
		return err
	}
	defer away.Close()
	if err := unix.Setns(int(away.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	err = f()
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		return err // the thread stays locked, and ends with the goroutine
	}
	runtime.UnlockOSThread()
	return err
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

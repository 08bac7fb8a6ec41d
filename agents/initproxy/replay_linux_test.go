package initproxy_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/agents/proxyproto"
)

// responderAddr is where the replay's responder listens, in the world.
const responderAddr = worldV4 + ":9000"

// TestReplay runs the binaries as in a pod that takes part in a replay: the mocked hosts'
// names are gone, or another server stands in their place, and two are on one port.
func TestReplay(t *testing.T) {
	n := lay(t)
	must(t, os.WriteFile(filepath.Join("/etc/netns", n.app, "resolv.conf"), []byte("nameserver "+worldV4+
		"\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"), 0o644))
	self := n.self()
	n.expect(n.start(n.world, []string{role + "=world"}, self), "ready")
	n.expect(n.start(n.world, []string{role + "=responder"}, self), "ready")
	n.nginx(n.world, "80", "81")
	bundle := n.startGoproxy(
		"REPLAY_ID=r1", "REPLAY_DEFAULT=passthrough", "REPLAY_RESPONDER="+responderAddr,
		"REPLAY_MOCKS="+strings.Join([]string{
			"cart:db.shop:7000", "cart:ledger.shop.svc.cluster.local:7000",
			"cart:secure.gone.test:443=http/1.1", "cart:vault.gone.test:443", "cart:shop.test:80",
		}, ","))
	// What is left alone never covers hosts that do not exist.
	n.apply("IGNORE_DST_IPS=224.0.0.0/3")

	for _, c := range []struct{ name, url, want string }{
		{"as recorded", "http://db.shop:7000/", "cart:db.shop:7000"},
		{"the namespace's own", "http://db:7000/", "cart:db.shop:7000"},
		{"by svc", "http://db.shop.svc:7000/", "cart:db.shop:7000"},
		{"in full", "http://db.shop.svc.cluster.local:7000/", "cart:db.shop:7000"},
		{"absolute", "http://db.shop.svc.cluster.local.:7000/", "cart:db.shop:7000"},
		{"another on the same port", "http://ledger:7000/", "cart:ledger.shop.svc.cluster.local:7000"},
		{"TLS", "https://secure.gone.test/", "cart:secure.gone.test:443"},
		{"another with TLS", "https://vault.gone.test/", "cart:vault.gone.test:443"},
		{"one that resolves", "http://shop.test/", "cart:shop.test:80"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := n.sub(t)
			// The name in the request must not be what leads to the mock.
			got := n.in(n.app, "curl", "-sf", "-m", "20", "--cacert", bundle, "-H", "Host: nobody.test", c.url)
			if got != c.want {
				t.Errorf("%s was answered by %q, want %q", c.url, got, c.want)
			}
		})
	}
	t.Run("not mocked", func(t *testing.T) {
		n := n.sub(t)
		if got := n.in(n.app, "curl", "-sf", "-m", "20", "http://shop.test:81/"); !strings.HasPrefix(got, "81 ") {
			t.Errorf("the real server's answer is %q", got)
		}
		if out, err := n.try(n.app, "curl", "-sS", "-m", "20", "http://db.shop:7777/"); err == nil || strings.Contains(out, "timed out") {
			t.Errorf("a port that is not mocked, of a host that is gone: %q, %v", out, err)
		}
		if out, err := n.try(n.app, "getent", "hosts", "other.shop"); err == nil {
			t.Errorf("other.shop is %q", out)
		}
	})
}

// TestReplayByHostAliases: the names of mocked hosts are in /etc/hosts, and the app's DNS
// is its own.
func TestReplayByHostAliases(t *testing.T) {
	const db, secure, real = "240.1.2.3", "240.1.2.4", worldV4
	for _, mode := range []struct {
		name string
		// db and secure are the addresses of the mocked hosts.
		db, secure string
		settings   []string
		redirected bool
	}{
		{"redirected", db, secure, []string{"HOST_RESOLUTION=none", "HOST_ALIASES=db.shop=" + db + ",secure.gone.test=" + secure}, true},
		{"on loopback", "127.64.1.2", "127.64.1.3", []string{"PROXY_TYPE=forward", "PROXY_MAPPINGS=127.64.1.2:7000=db.shop:7000,127.64.1.3:443=secure.gone.test:443"}, false},
	} {
		t.Run(mode.name, func(t *testing.T) {
			n := lay(t)
			dir := filepath.Join("/etc/netns", n.app)
			must(t, os.WriteFile(filepath.Join(dir, "hosts"), []byte("127.0.0.1 localhost\n"+
				mode.db+" db db.shop db.shop.svc\n"+mode.secure+" secure.gone.test\n"+real+" shop.test\n"), 0o644))
			self := n.self()
			n.expect(n.start(n.world, []string{role + "=responder"}, self), "ready")
			n.nginx(n.world, "80", "81")
			n.in(n.app, "sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=443")
			bundle := n.startGoproxy(append(mode.settings,
				"REPLAY_ID=r1", "REPLAY_DEFAULT=passthrough", "REPLAY_RESPONDER="+responderAddr,
				"REPLAY_MOCKS=cart:db.shop:7000,cart:secure.gone.test:443")...)
			if mode.redirected {
				n.apply("HOST_RESOLUTION=none")
			}
			for url, want := range map[string]string{
				"http://db.shop:7000/": "cart:db.shop:7000", "http://db:7000/": "cart:db.shop:7000",
				"https://secure.gone.test/": "cart:secure.gone.test:443",
			} {
				got := n.in(n.app, "curl", "-sf", "-m", "20", "--cacert", bundle, "-H", "Host: nobody.test", url)
				if got != want {
					t.Errorf("%s was answered by %q, want %q", url, got, want)
				}
			}
			if got := n.in(n.app, "curl", "-sf", "-m", "20", "http://shop.test:81/"); !strings.HasPrefix(got, "81 ") {
				t.Errorf("the real server's answer is %q", got)
			}
			if out, err := n.try(n.app, "curl", "-sS", "-m", "20", "http://db.shop:7777/"); err == nil || strings.Contains(out, "timed out") {
				t.Errorf("a port that is not mocked, of a host that is: %q, %v", out, err)
			}
			if mode.redirected {
				if rules := n.in(n.app, "nft", "list", "ruleset"); strings.Contains(rules, "dport 53") {
					t.Errorf("DNS is redirected:\n%s", rules)
				}
			}
		})
	}
}

// startGoproxy runs the binary in the app's namespace, and returns the CA's certificate.
func (n *network) startGoproxy(settings ...string) string {
	dir := n.public()
	binary := filepath.Join(dir, "goproxy")
	run(n.t, "env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-o", binary, "../cmd/goproxy")
	certs, trust := filepath.Join(dir, "certs"), filepath.Join(dir, "trust")
	for _, d := range []string{certs, trust} {
		must(n.t, os.Mkdir(d, 0o755))
		must(n.t, os.Chown(d, 2102, 2102))
	}
	as := []string{"setpriv", "--reuid=2102", "--regid=2102", "--clear-groups"}
	n.in(n.app, append(as, "env", "TLS_CERT_DIR="+certs, "TLS_TRUST_DIR="+trust, binary, "ca")...)
	env := append([]string{"APP_LABEL=cart", "FORWARDER_ADDR=127.0.0.1:1", "TLS_CERT_DIR=" + certs}, settings...)
	n.start(n.app, env, append(as, binary)...)
	n.until(n.app, "curl", "-sf", "http://127.0.0.1:4144/readyz")
	return filepath.Join(certs, "tls.crt")
}

// sliceKey is how a request's connection is told to the handler.
type sliceKey struct{}

// routedConn is a connection that began with a PROXY header.
type routedConn struct {
	net.Conn
	r   *bufio.Reader
	key string
}

func (c *routedConn) Read(b []byte) (int, error) { return c.r.Read(b) }

type routedListener struct{ net.Listener }

func (l routedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		r := bufio.NewReader(c)
		h, err := proxyproto.Read(r)
		if err != nil {
			c.Close()
			continue
		}
		return &routedConn{c, r, h.SliceKey}, nil
	}
}

// playResponder answers each request with the mock that it was meant for.
func playResponder() error {
	l, err := net.Listen("tcp", responderAddr)
	if err != nil {
		return err
	}
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.Context().Value(sliceKey{}))
		}),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, sliceKey{}, c.(*routedConn).key)
		},
		Protocols: new(http.Protocols),
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	go s.Serve(routedListener{l})
	fmt.Println("ready")
	<-untilSignal().Done()
	return s.Close()
}

package initproxy_test

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/speedscale/speedscale/agents/dnsrelay"
)

// TestTransparent runs goproxy as in a pod: rules by initproxy, real servers and
// clients on both sides of a cable, IPv4 and IPv6.
func TestTransparent(t *testing.T) {
	n := setUp(t)
	t.Run("rules", func(t *testing.T) { n.sub(t).testRules() })
	t.Run("capture", func(t *testing.T) { n.sub(t).testCapture() })
	t.Run("relaying", func(t *testing.T) { n.sub(t).testRelaying() })
	t.Run("dns", func(t *testing.T) { n.sub(t).testDNS() })
	t.Run("exclusions", func(t *testing.T) { n.sub(t).testExclusions() })
	t.Run("loopback", func(t *testing.T) { n.sub(t).testLoopback() })
	t.Run("node's network", func(t *testing.T) { n.sub(t).testNodesNetwork() })
	t.Run("established", func(t *testing.T) { n.sub(t).testEstablished() })
}

// all are settings of every kind.
func all() []string {
	return []string{
		"IGNORE_UIDS=5000,5001", "IGNORE_INBOUND_PORTS=22,8081", "IGNORE_OUTBOUND_PORTS=5432,53",
		"IGNORE_SRC_IPS=10.1.2.3,fd00:9::/32", "IGNORE_DST_IPS=10.0.0.0/8, 192.168.0.0/17 ,::ffff:1.2.3.4,fe80::1,*",
		"TRACK_LOOPBACK=true", "STATUS_HOST_IP=10.9.9.9",
	}
}

func (n *network) testRules() {
	t := n.t
	n.in(n.app, "nft", "add table inet other")
	for _, settings := range [][]string{nil, all(), {"IGNORE_LOOPBACK=true", "HOST_RESOLUTION=none"}} {
		text := n.apply(append([]string{"--print"}, settings...)...)
		file := filepath.Join(t.TempDir(), "rules")
		must(t, os.WriteFile(file, []byte(text), 0o644))
		n.in(n.app, "nft", "-c", "-f", file)
		n.apply(settings...)
		// What the kernel has is what was printed, as nft reads and writes it.
		ours := n.in(n.app, "nft", "list", "table", "inet", "speedscale")
		n.apply(settings...)
		if again := n.in(n.app, "nft", "list", "table", "inet", "speedscale"); again != ours {
			t.Errorf("applied twice:\n%s", again)
		}
		n.in(n.app, "nft", "-f", file)
		if want := n.in(n.app, "nft", "list", "table", "inet", "speedscale"); want != ours {
			t.Errorf("in the kernel:\n%s\nprinted:\n%s", ours, want)
		}
	}
	n.apply("--remove")
	n.apply("--remove")
	if left := n.in(n.app, "nft", "list", "ruleset"); strings.Contains(left, "speedscale") || !strings.Contains(left, "other") {
		t.Errorf("after the removal: %q", left)
	}
	n.in(n.app, "nft", "delete table inet other")
}

func (n *network) testCapture() {
	t := n.t
	n.apply()
	for _, c := range []struct{ app, world string }{{appV4, worldV4}, {"[" + appV6 + "]", "[" + worldV6 + "]"}} {
		if got := n.in(n.app, "curl", "-sg", "http://"+c.world+"/out"); !strings.HasPrefix(got, "80 ") {
			t.Errorf("curl got %q", got)
		}
		n.expect(n.proxy, "out "+c.world+":80")
		n.expect(n.proxy, "pair out GET /out 200")
		if got := n.in(n.world, "curl", "-sg", "http://"+c.app+":8080/in"); !strings.HasPrefix(got, "8080 ") {
			t.Errorf("curl got %q", got)
		}
		n.expect(n.proxy, "in "+c.app+":8080")
		n.expect(n.proxy, "pair in GET /in 200")
		host := strings.Trim(c.world, "[]")
		n.in(n.app, "redis-cli", "-h", host, "set", "greeting", "hello")
		n.expect(n.proxy, "out "+c.world+":6379")
		if got := n.in(n.app, "redis-cli", "-h", host, "get", "greeting"); got != "hello" {
			t.Errorf("redis said %q", got)
		}
		n.expect(n.proxy, "out "+c.world+":6379")
	}
}

func (n *network) testRelaying() {
	t := n.t
	n.apply()
	for _, world := range []string{worldV4, "[" + worldV6 + "]"} {
		t.Run("server first "+world, func(t *testing.T) {
			n := n.sub(t)
			banner := make([]byte, 14)
			if _, err := io.ReadFull(n.dial(world+":2222"), banner); err != nil || string(banner) != "SSH-2.0-test\r\n" {
				t.Errorf("%q, %v", banner, err)
			}
		})
		t.Run("half-close "+world, func(t *testing.T) {
			n := n.sub(t)
			c := n.dial(world + ":7000")
			c.Write([]byte("hello"))
			c.CloseWrite()
			if got, err := io.ReadAll(c); err != nil || string(got) != "HELLO" {
				t.Errorf("%q, %v", got, err)
			}
		})
		t.Run("much data "+world, func(t *testing.T) {
			n := n.sub(t)
			c := n.dial(world + ":7000")
			sent := bytes.Repeat([]byte("abcdefgh"), 1<<20)
			go func() { c.Write(sent); c.CloseWrite() }()
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, bytes.ToUpper(sent)) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
		t.Run("reset by server "+world, func(t *testing.T) {
			n := n.sub(t)
			c := n.dial(world + ":7001")
			c.Write([]byte("x"))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%v, want connection reset", err)
			}
		})
		t.Run("reset by client "+world, func(t *testing.T) {
			n := n.sub(t)
			c := n.dial(world + ":7000")
			c.Write([]byte("x"))
			n.expect(n.proxy, "out "+world+":7000")
			c.SetLinger(0)
			c.Close()
			n.expect(n.servers, "read: true")
		})
		t.Run("refused upstream "+world, func(t *testing.T) {
			// The reset may come before the client has seen that it is connected.
			c, err := n.tryDial(world + ":9")
			if err == nil {
				defer c.Close()
				_, err = c.Read(make([]byte, 1))
			}
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%v, want connection reset", err)
			}
		})
	}
}

// between returns what the proxy was given while f ran, but for pairs and names.
func (n *network) between(f func(*network)) (lines []string) {
	n.t.Helper()
	// Whatever came before is behind the first mark.
	for i, step := range []func(*network){func(*network) {}, f} {
		step(n)
		mark := n.dial(worldV4 + ":7002")
		line := "out " + worldV4 + ":7002"
		mark.Close()
		if before := n.expect(n.proxy, line); i == 1 {
			lines = before
		}
	}
	return slices.DeleteFunc(lines, func(s string) bool { return strings.HasPrefix(s, "pair") || strings.HasPrefix(s, "name") })
}

func (n *network) testExclusions() {
	t := n.t
	get := func(ns, url string, prefix ...string) func(*network) {
		return func(n *network) { n.in(ns, append(prefix, "curl", "-sgf", "-m", "5", url)...) }
	}
	fromNode := func(node, url string) func(*network) {
		return func(n *network) { n.in(n.world, "curl", "-sgf", "-m", "5", "--interface", node, url) }
	}
	as := func(uid string) []string { return []string{"setpriv", "--reuid=" + uid, "--clear-groups"} }
	v6 := "http://[" + worldV6 + "]"
	for _, c := range []struct {
		name     string
		settings []string
		do       func(*network)
		want     []string
	}{
		{"goproxy's own", nil, get(n.app, "http://"+worldV4, as("2102")...), nil},
		{"other users", nil, get(n.app, "http://"+worldV4, as("5000")...), []string{"out " + worldV4 + ":80"}},
		{"uid", []string{"IGNORE_UIDS=5000"}, get(n.app, "http://"+worldV4, as("5000")...), nil},
		{"other uid", []string{"IGNORE_UIDS=5000"}, get(n.app, v6, as("5001")...), []string{"out [" + worldV6 + "]:80"}},
		{"outbound port", []string{"IGNORE_OUTBOUND_PORTS=80"}, get(n.app, "http://"+worldV4), nil},
		{"outbound port v6", []string{"IGNORE_OUTBOUND_PORTS=80"}, get(n.app, v6), nil},
		{"other outbound port", []string{"IGNORE_OUTBOUND_PORTS=80"}, get(n.app, "http://"+worldV4+":81"), []string{"out " + worldV4 + ":81"}},
		{"inbound port", []string{"IGNORE_INBOUND_PORTS=8081"}, get(n.world, "http://"+appV4+":8081"), nil},
		{"inbound port v6", []string{"IGNORE_INBOUND_PORTS=8081"}, get(n.world, "http://["+appV6+"]:8081"), nil},
		{"other inbound port", []string{"IGNORE_INBOUND_PORTS=8081"}, get(n.world, "http://"+appV4+":8080"), []string{"in " + appV4 + ":8080"}},
		{"destination v6", []string{"IGNORE_DST_IPS=" + worldV6}, get(n.app, v6), nil},
		{"destination of the other family", []string{"IGNORE_DST_IPS=" + worldV6}, get(n.app, "http://"+worldV4), []string{"out " + worldV4 + ":80"}},
		{"range of sources", []string{"IGNORE_SRC_IPS=198.18.64.0/19"}, get(n.world, "http://"+appV4+":8080"), nil},
		{"range of sources v6", []string{"IGNORE_SRC_IPS=fd00:76::/31"}, get(n.world, "http://["+appV6+"]:8080"), nil},
		{"other range of sources", []string{"IGNORE_SRC_IPS=198.18.128.0/17"}, get(n.world, "http://"+appV4+":8080"), []string{"in " + appV4 + ":8080"}},
		{"all sources", []string{"IGNORE_SRC_IPS=*"}, get(n.world, "http://["+appV6+"]:8080"), nil},
		{"node", []string{"STATUS_HOST_IP=" + worldV4}, get(n.world, "http://"+appV4+":8080"), nil},
		{"node, captured", []string{"STATUS_HOST_IP=" + worldV4, "CAPTURE_NODE_TRAFFIC=true"}, get(n.world, "http://"+appV4+":8080"), []string{"in " + appV4 + ":8080"}},
		{"default gateway", nil, fromNode(nodeV4, "http://"+appV4+":8080"), nil},
		{"default gateway v6", nil, fromNode(nodeV6, "http://["+appV6+"]:8080"), nil},
		{"default gateway, captured", []string{"CAPTURE_NODE_TRAFFIC=true"}, fromNode(nodeV4, "http://"+appV4+":8080"), []string{"in " + appV4 + ":8080"}},
		{"source host", []string{"IGNORE_SRC_HOSTS=shop.test,gone.example"}, get(n.world, "http://"+appV4+":8080"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := n.sub(t)
			n.apply(c.settings...)
			if got := n.between(c.do); !slices.Equal(got, c.want) {
				t.Errorf("the proxy was given %q, want %q", got, c.want)
			}
		})
	}
	// The mark of between goes to the world itself, so these are apart.
	for name, settings := range map[string][]string{
		"destination": {"IGNORE_DST_IPS=" + worldV4}, "range of destinations": {"IGNORE_DST_IPS=198.18.0.0/15"},
		"all destinations": {"IGNORE_DST_IPS=*"}, "destination host": {"IGNORE_DST_HOSTS=shop.test"},
	} {
		t.Run(name, func(t *testing.T) {
			n := n.sub(t)
			n.apply(settings...)
			n.in(n.app, "curl", "-sf", "http://"+worldV4)
			n.apply()
			if got := n.between(func(*network) {}); len(got) != 0 {
				t.Errorf("the proxy was given %q", got)
			}
		})
	}
}

func (n *network) testLoopback() {
	t := n.t
	for _, c := range []struct{ setting, want string }{
		{"IGNORE_LOOPBACK=false", "out %:8080"}, {"TRACK_LOOPBACK=true", "in %:8080"}, {"IGNORE_LOOPBACK=true", ""},
	} {
		for _, to := range []string{"127.0.0.1", "[::1]", appV4} {
			t.Run(c.setting+" "+to, func(t *testing.T) {
				n := n.sub(t)
				n.apply(c.setting)
				got := n.between(func(n *network) { n.in(n.app, "curl", "-sgf", "-m", "5", "http://"+to+":8080") })
				if want := strings.ReplaceAll(c.want, "%", to); strings.Join(got, "\n") != want {
					t.Errorf("the proxy was given %q, want %q", got, want)
				}
			})
		}
	}
}

func (n *network) testDNS() {
	t := n.t
	for _, c := range []struct{ setting, curl, want, name string }{
		{"HOST_RESOLUTION=none", "-4", "out " + worldV4 + ":80", ""},
		{"HOST_RESOLUTION=smart", "-4", "out " + worldV4 + ":80", "name shop.test"},
		{"HOST_RESOLUTION=smart", "-6", "out [" + worldV6 + "]:80", "name shop.test"},
	} {
		n.apply(c.setting)
		n.in(n.app, "curl", "-sf", c.curl, "http://shop.test/")
		if got := strings.Join(n.expect(n.proxy, c.want), ", "); !strings.HasSuffix(got, c.name) || strings.Contains(got, "name") != (c.name != "") {
			t.Errorf("%s: before the connection came %q, want %q", c.setting, got, c.name)
		}
	}
	// By TCP too: glibc does as resolv.conf's options say.
	if got := n.in(n.app, "env", "RES_OPTIONS=use-vc", "getent", "ahostsv4", "gone.test"); !synthesized(got) {
		t.Errorf("gone.test by TCP: %q", got)
	}
	gone := n.in(n.app, "getent", "ahostsv4", "gone.test")
	if !synthesized(gone) {
		t.Errorf("gone.test by UDP: %q", gone)
	}
	if out, err := n.try(n.app, "getent", "hosts", "other.test"); err == nil {
		t.Errorf("other.test is %q", out)
	}
	// The synthesized address reaches the proxy under its name. There is no host
	// behind it, which curl is not kept waiting for here.
	c := exec.Command("ip", "netns", "exec", n.app, "curl", "-s", "http://gone.test/")
	must(t, c.Start())
	if got := n.expect(n.proxy, "out "+strings.Fields(gone)[0]+":80"); !slices.Contains(got, "name gone.test") {
		t.Errorf("before the connection came %q", got)
	}
	c.Process.Kill()
	c.Wait()
}

// testNodesNetwork: where the rules would be the node's there are none, and the app
// starts, but in a replay.
func (n *network) testNodesNetwork() {
	t := n.t
	n.apply("--remove")
	message := filepath.Join(t.TempDir(), "termination-log")
	must(t, os.WriteFile(message, nil, 0o644))
	node := []string{"STATUS_HOST_IP=" + appV4, "TERMINATION_LOG=" + message}
	n.apply(node...)
	if said, err := os.ReadFile(message); err != nil || !strings.Contains(string(said), "not captured") || !strings.Contains(string(said), appV4) {
		t.Errorf("termination message %q, %v", said, err)
	}
	if out, err := n.try(n.app, append([]string{"env", "REPLAY_ID=r1"}, append(node, n.binary)...)...); err == nil || !strings.Contains(out, appV4) {
		t.Errorf("in a replay: %q, %v", out, err)
	}
	// The same where rules cannot be set.
	bare := []string{"setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--reuid=5000", "--clear-groups", "env", "LOG_LEVEL=error"}
	public := filepath.Join(n.public(), "initproxy")
	run(t, "cp", n.binary, public)
	if out, err := n.try(n.app, append(bare, public)...); err != nil || !strings.Contains(out, "NET_ADMIN") {
		t.Errorf("without NET_ADMIN: %q, %v", out, err)
	}
	if out, err := n.try(n.app, append(bare, "REPLAY_ID=r1", public)...); err == nil || !strings.Contains(out, "NET_ADMIN") {
		t.Errorf("without NET_ADMIN in a replay: %q, %v", out, err)
	}
	if left := n.in(n.app, "nft", "list", "ruleset"); strings.Contains(left, "speedscale") {
		t.Errorf("there are rules: %s", left)
	}
}

// synthesized says whether what getent printed begins with an address that no host has.
func synthesized(text string) bool {
	first, _, _ := strings.Cut(text, " ")
	a, err := netip.ParseAddr(first)
	return err == nil && dnsrelay.Synthesized(a)
}

// testEstablished: rules that come or change leave open connections as they are,
// and rules that go those that were not redirected.
func (n *network) testEstablished() {
	t := n.t
	n.apply("--remove")
	say := func(c io.ReadWriter, s string) {
		t.Helper()
		c.Write([]byte(s))
		got := make([]byte, len(s))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != s {
			t.Errorf("%q, %v", got, err)
		}
	}
	for _, world := range []string{worldV4, "[" + worldV6 + "]"} {
		before := n.dial(world + ":7002")
		say(before, "no rules yet")
		n.apply()
		during := n.dial(world + ":7002")
		say(before, "rules came")
		say(during, "was redirected")
		n.expect(n.proxy, "out "+world+":7002")
		n.apply("IGNORE_DST_IPS=*")
		say(during, "rules changed")
		n.apply("--remove")
		say(before, "rules went")
	}
}

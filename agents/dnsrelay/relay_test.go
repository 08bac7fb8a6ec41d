package dnsrelay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/speedscale/speedscale/agents/dnsrelay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func startRelay(t *testing.T, o dnsrelay.Options) *dnsrelay.Relay {
	if o.Listen == nil {
		o.Listen = []string{"127.0.0.1:0"}
	}
	r, err := dnsrelay.New(o)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

// resolver asks the relay only, by Go's own DNS client.
func resolver(r *dnsrelay.Relay, network string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, n, _ string) (net.Conn, error) {
		if network != "" {
			n = network
		}
		return (&net.Dialer{}).DialContext(ctx, n, r.Addrs()[0].String())
	}}
}

func lookup(t *testing.T, r *net.Resolver, name string) []string {
	t.Helper()
	addrs, err := r.LookupNetIP(t.Context(), "ip", name)
	if err != nil {
		t.Fatal(err)
	}
	var s []string
	for _, addr := range addrs {
		s = append(s, addr.Unmap().String())
	}
	slices.Sort(s)
	return s
}

func testZone() zone {
	var many []dnsmessage.ResourceBody
	for n := range 200 {
		many = append(many, a(fmt.Sprintf("198.18.1.%d", n)))
	}
	return zone{
		"shop.example.com.":     {a("198.18.0.1"), a("198.18.0.2"), aaaa("fd00::1")},
		"dangling.example.com.": {cname("gone.example.net.")},
		"www.example.com.":      {cname("edge.example.net."), a("198.18.0.3")},
		"big.example.com.":      many,
	}
}

func TestNames(t *testing.T) {
	ns := startNameserver(t, testZone())
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			r := startRelay(t, dnsrelay.Options{Nameservers: []netip.AddrPort{ns.addr}})
			res := resolver(r, network)
			if got := lookup(t, res, "Shop.Example.com."); !slices.Equal(got, []string{"198.18.0.1", "198.18.0.2", "fd00::1"}) {
				t.Errorf("addresses %v", got)
			}
			lookup(t, res, "www.example.com.")
			for addr, want := range map[string]string{
				"198.18.0.2": "shop.example.com", "fd00::1": "shop.example.com", "::ffff:198.18.0.1": "shop.example.com",
				"198.18.0.3": "www.example.com", "198.18.0.9": "",
			} {
				if got, _ := r.Name(netip.MustParseAddr(addr)); got != want {
					t.Errorf("%s: %q, want %q", addr, got, want)
				}
			}
			_, err := res.LookupHost(t.Context(), "no.example.com.")
			var de *net.DNSError
			if !errors.As(err, &de) || !de.IsNotFound {
				t.Errorf("a name that does not exist: %v", err)
			}
		})
	}
}

// TestTruncatedAnswer: the client asks again over TCP, through the relay too.
func TestTruncatedAnswer(t *testing.T) {
	ns := startNameserver(t, testZone())
	r := startRelay(t, dnsrelay.Options{Nameservers: []netip.AddrPort{ns.addr}})
	if got := lookup(t, resolver(r, ""), "big.example.com."); len(got) != 200 {
		t.Errorf("%d addresses, want 200", len(got))
	}
	if got, _ := r.Name(netip.MustParseAddr("198.18.1.199")); got != "big.example.com" {
		t.Errorf("name %q", got)
	}
}

// TestBytesAreUnchanged sends bytes that are no DNS at all in both directions.
func TestBytesAreUnchanged(t *testing.T) {
	u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	defer u.Close()
	r := startRelay(t, dnsrelay.Options{Nameservers: []netip.AddrPort{u.LocalAddr().(*net.UDPAddr).AddrPort()}})
	c, err := net.Dial("udp", r.Addrs()[0].String())
	must(t, err)
	defer c.Close()
	query := []byte("\x00\x01 no DNS \xff\xfe")
	answer := append([]byte("\x00\x01"), bytes.Repeat([]byte{0xaa}, 60000)...)
	c.Write(query)
	buf := make([]byte, 65535)
	n, from, err := u.ReadFromUDPAddrPort(buf)
	must(t, err)
	if !bytes.Equal(buf[:n], query) {
		t.Errorf("nameserver got %q", buf[:n])
	}
	// An answer with another id is not for this query.
	u.WriteToUDPAddrPort([]byte("\x00\x02 forged"), from)
	u.WriteToUDPAddrPort(answer, from)
	c.SetDeadline(time.Now().Add(5 * time.Second))
	n, err = c.Read(buf)
	if err != nil || !bytes.Equal(buf[:n], answer) {
		t.Errorf("client got %d bytes, %v", n, err)
	}
}

func TestPipelinedTCP(t *testing.T) {
	ns := startNameserver(t, testZone())
	r := startRelay(t, dnsrelay.Options{Nameservers: []netip.AddrPort{ns.addr}})
	c, err := net.Dial("tcp", r.Addrs()[0].String())
	must(t, err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	const n = 50
	for id := range n {
		must(t, writeTCP(c, query(t, uint16(id), "shop.example.com.", dnsmessage.TypeA)))
	}
	for range n {
		got, err := readTCP(c)
		must(t, err)
		ns.mu.Lock()
		same := slices.ContainsFunc(ns.sent, func(b []byte) bool { return bytes.Equal(b, got) })
		ns.mu.Unlock()
		if !same {
			t.Fatalf("an answer that the nameserver did not send: %x", got)
		}
	}
}

func query(t testing.TB, id uint16, name string, typ dnsmessage.Type) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true})
	b.StartQuestions()
	b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: typ, Class: dnsmessage.ClassINET})
	m, err := b.Finish()
	must(t, err)
	return m
}

func TestNextNameserver(t *testing.T) {
	dead, ns := startNameserver(t, nil), startNameserver(t, testZone())
	dead.silent.Store(true)
	r := startRelay(t, dnsrelay.Options{Nameservers: []netip.AddrPort{dead.addr, ns.addr}, Timeout: 100 * time.Millisecond})
	for range 3 {
		c, err := net.Dial("udp", r.Addrs()[0].String())
		must(t, err)
		c.SetDeadline(time.Now().Add(5 * time.Second))
		c.Write(query(t, 7, "shop.example.com.", dnsmessage.TypeA))
		if _, err := c.Read(make([]byte, 512)); err != nil {
			t.Error(err)
		}
		c.Close()
	}
	if n := dead.asked.Load(); n != 1 {
		t.Errorf("the dead nameserver was asked %d times, want once", n)
	}
}

func TestBoundOfQueries(t *testing.T) {
	dead := startNameserver(t, nil)
	dead.silent.Store(true)
	r := startRelay(t, dnsrelay.Options{Nameservers: []netip.AddrPort{dead.addr}, Timeout: 200 * time.Millisecond, MaxInFlight: 2})
	c, err := net.Dial("udp", r.Addrs()[0].String())
	must(t, err)
	defer c.Close()
	for id := range 5 {
		c.Write(query(t, uint16(id), "shop.example.com.", dnsmessage.TypeA))
	}
	want := dnsrelay.Stats{Queries: 5, TimedOut: 2, Dropped: 3}
	for range 300 {
		if r.Stats() == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%+v, want %+v", r.Stats(), want)
}

// replayAddress is the IPv4 address that a name has by the relay, as the only one.
func replayAddress(t *testing.T, r *net.Resolver, name string) string {
	t.Helper()
	got := lookup(t, r, name)
	if len(got) != 1 || !dnsrelay.Synthesized(netip.MustParseAddr(got[0])) {
		t.Fatalf("%s has %v, want one address of a replay", name, got)
	}
	return got[0]
}

func TestSynthesize(t *testing.T) {
	ns := startNameserver(t, testZone())
	names := []string{"Shop.example.com", "payments.internal", "ledger.internal.", "payments.internal", "dangling.example.com"}
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			r := startRelay(t, dnsrelay.Options{Nameservers: []netip.AddrPort{ns.addr}, Synthesize: names})
			res := resolver(r, network)
			addresses := map[string]string{}
			for _, name := range []string{"payments.internal", "ledger.internal", "dangling.example.com"} {
				got := replayAddress(t, res, name+".")
				for range 2 {
					if again := replayAddress(t, res, name+"."); again != got {
						t.Errorf("%s: %v after %v", name, again, got)
					}
				}
				if other, ok := addresses[got]; ok {
					t.Errorf("%s and %s share %s", name, other, got)
				}
				addresses[got] = name
				if n, _ := r.Name(netip.MustParseAddr(got)); n != name {
					t.Errorf("%s is named %q, want %s", got, n, name)
				}
				if n, err := res.LookupAddr(t.Context(), got); err != nil || !slices.Equal(n, []string{name + "."}) {
					t.Errorf("reverse: %v, %v", n, err)
				}
			}
			if got := lookup(t, res, "shop.example.com."); !slices.Equal(got, []string{"198.18.0.1", "198.18.0.2", "fd00::1"}) {
				t.Errorf("a name that resolves: %v", got)
			}
			if _, err := res.LookupHost(t.Context(), "other.internal."); err == nil {
				t.Error("a name that was not given has an address")
			}
			// In another relay, with other names, it is the same.
			other := startRelay(t, dnsrelay.Options{Nameservers: []netip.AddrPort{ns.addr}, Synthesize: []string{"a.internal", "payments.internal"}})
			if got := replayAddress(t, resolver(other, network), "payments.internal."); addresses[got] != "payments.internal" {
				t.Errorf("another relay gives payments.internal %s, want one of %v", got, addresses)
			}
		})
	}
}

// TestSynthesizeAllForms: a Service that is gone has its address however it was recorded,
// and however it is asked for.
func TestSynthesizeAllForms(t *testing.T) {
	ns := startNameserver(t, zone{
		"live.shop.svc.cluster.local.": {a("198.18.0.5")},
		"api.example.com.":             {a("198.18.0.6")},
	})
	search := []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local"}
	forms := []string{"db", "db.shop", "db.shop.svc", "db.shop.svc.cluster.local"}
	// asked does what a resolver does with ndots:5.
	asked := func(t *testing.T, r *net.Resolver, name string) string {
		t.Helper()
		for _, domain := range append(slices.Clone(search), "") {
			addrs, err := r.LookupNetIP(t.Context(), "ip4", strings.TrimSuffix(name+"."+domain, ".")+".")
			if err == nil {
				return addrs[0].String()
			}
		}
		return ""
	}
	for _, recorded := range forms {
		t.Run(recorded, func(t *testing.T) {
			r := startRelay(t, dnsrelay.Options{Nameservers: []netip.AddrPort{ns.addr}, Search: search, Synthesize: []string{recorded, "live", "api.example.com"}})
			res := resolver(r, "")
			for _, name := range forms {
				got := asked(t, res, name)
				if got == "" || !dnsrelay.Synthesized(netip.MustParseAddr(got)) {
					t.Errorf("%s has %q, want an address of the replay", name, got)
					continue
				}
				if n, _ := r.Name(netip.MustParseAddr(got)); n != recorded {
					t.Errorf("asked for %s, the address is named %q", name, n)
				}
			}
			// What resolves keeps its address, and other names stay unknown.
			for name, want := range map[string]string{"live.shop": "198.18.0.5", "api.example.com": "198.18.0.6", "db.other": "", "other": ""} {
				if got := asked(t, res, name); got != want {
					t.Errorf("%s has %q, want %q", name, got, want)
				}
			}
		})
	}
}

// TestIgnoredAddress: a mocked host has no address at which connections pass by.
func TestIgnoredAddress(t *testing.T) {
	ns := startNameserver(t, zone{
		"api.example.com.": {a("198.18.0.7"), aaaa("fd00::7")}, "ads.example.com.": {a("198.18.0.7")}, "six.example.com.": {a("198.18.9.9"), aaaa("fd00::7")},
	})
	r := startRelay(t, dnsrelay.Options{
		Nameservers: []netip.AddrPort{ns.addr}, Synthesize: []string{"api.example.com", "six.example.com"},
		Ignored: []netip.Prefix{netip.MustParsePrefix("198.18.0.0/24"), netip.MustParsePrefix("fd00::/64")},
	})
	res := resolver(r, "")
	replayAddress(t, res, "api.example.com.")
	for name, want := range map[string][]string{"ads.example.com.": {"198.18.0.7"}, "six.example.com.": {"198.18.9.9"}} {
		if got := lookup(t, res, name); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// TestSharedAddress: an address of a mocked host and another one names neither.
func TestSharedAddress(t *testing.T) {
	ns := startNameserver(t, zone{
		"api.example.com.": {a("198.18.0.7")}, "cdn.example.com.": {a("198.18.0.7")},
		"one.example.com.": {a("198.18.0.8")}, "two.example.com.": {a("198.18.0.8")},
	})
	r := startRelay(t, dnsrelay.Options{Nameservers: []netip.AddrPort{ns.addr}, Synthesize: []string{"api.example.com"}})
	res := resolver(r, "")
	for _, step := range [][3]string{
		{"api.example.com.", "198.18.0.7", "api.example.com"},
		{"cdn.example.com.", "198.18.0.7", ""},
		{"api.example.com.", "198.18.0.7", ""},
		{"one.example.com.", "198.18.0.8", "one.example.com"},
		{"two.example.com.", "198.18.0.8", "two.example.com"},
	} {
		lookup(t, res, step[0])
		if got, _ := r.Name(netip.MustParseAddr(step[1])); got != step[2] {
			t.Errorf("after a question for %s, %s is named %q, want %q", step[0], step[1], got, step[2])
		}
	}
}

// TestSynthesizeWithoutNameservers: a replay works with no network at all.
func TestSynthesizeWithoutNameservers(t *testing.T) {
	dead := startNameserver(t, nil)
	dead.silent.Store(true)
	for name, servers := range map[string][]netip.AddrPort{
		"none": nil, "silent": {dead.addr}, "refusing": {netip.MustParseAddrPort("127.0.0.1:1")},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if name == "silent" && network == "tcp" {
				continue // it takes the connection, and the client times out
			}
			r := startRelay(t, dnsrelay.Options{Nameservers: servers, Synthesize: []string{"payments.internal"}, Timeout: 50 * time.Millisecond})
			replayAddress(t, resolver(r, network), "payments.internal.")
		}
	}
}

func TestBadOptions(t *testing.T) {
	for want, o := range map[string]dnsrelay.Options{
		"no nameservers": {},
		`"198.18.0.1"`:   {Synthesize: []string{"198.18.0.1"}},
		"address":        {Synthesize: []string{"x"}, Listen: []string{"127.0.0.1"}},
	} {
		if _, err := dnsrelay.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}

func TestNameservers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	for _, c := range []struct{ content, want string }{
		{"# x\nsearch a b\nnameserver 198.18.0.53\nnameserver fd00::53 # y\noptions ndots:5\n", "[198.18.0.53:53 [fd00::53]:53]"},
		{"nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4\n", "[1.1.1.1:53 1.1.1.2:53 1.1.1.3:53]"},
		{"", "[127.0.0.1:53]"},
	} {
		must(t, os.WriteFile(file, []byte(c.content), 0o600))
		got, err := dnsrelay.Nameservers(file)
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%q: %v, %v", c.content, got, err)
		}
	}
	must(t, os.WriteFile(file, []byte("domain a.test\nsearch shop.svc.Cluster.local. svc.cluster.local\noptions ndots:5\n"), 0o600))
	if got, err := dnsrelay.Search(file); err != nil || !slices.Equal(got, []string{"shop.svc.cluster.local", "svc.cluster.local"}) {
		t.Errorf("search list %v, %v", got, err)
	}
	must(t, os.WriteFile(file, []byte("\nnameserver localhost\n"), 0o600))
	if _, err := dnsrelay.Nameservers(file); err == nil || !strings.Contains(err.Error(), "resolv.conf:2") {
		t.Error(err)
	}
}

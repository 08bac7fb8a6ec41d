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

package intercept_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/agents/intercept"
)

// TestConnectionTooManyIsNoRefusal: Go's HTTP/2 client opens several connections
// at once, keeps one and closes the others without a byte. That was taken for a
// pin, and the client's next connections were relayed without capture.
func TestConnectionTooManyIsNoRefusal(t *testing.T) {
	world := newAuthority(t, "World CA")
	server := serveHTTP(t, &tls.Config{Certificates: []tls.Certificate{world.issue("localhost")}})
	ca, trust := newCA(t)
	i := newInterceptor(t, intercept.Options{CA: ca, UpstreamCA: []string{world.file}})
	p := startProxy(t, server, outbound(i, ""))
	dial := func() *tls.Conn {
		conn, err := tls.Dial("tcp", p.addr, &tls.Config{RootCAs: trust, ServerName: "localhost"})
		must(t, err)
		return conn
	}
	kept := dial()
	defer kept.Close()
	for range 3 {
		must(t, dial().Close())
	}
	_, err := kept.Write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
	must(t, err)
	_, err = kept.Read(make([]byte, 1))
	must(t, err)
	must(t, dial().Close())
	last := dial()
	defer last.Close()
	if issuer := last.ConnectionState().PeerCertificates[0].Issuer.CommonName; !strings.HasPrefix(issuer, "Speedscale") {
		t.Errorf("the client's next connection got a leaf of %q", issuer)
	}
	for _, c := range i.Counts() {
		if c.Reason == intercept.ReasonClientRefused {
			t.Errorf("counted as refused: %+v", c)
		}
	}
}

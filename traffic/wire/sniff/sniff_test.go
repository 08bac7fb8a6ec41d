package sniff_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/traffic/wire/sniff"
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

func TestProtocol(t *testing.T) {
	tests := []struct {
		in     string
		kind   sniff.Kind
		enough bool
	}{
		{"", sniff.Unknown, false},
		{"\r\n", sniff.Unknown, false},
		{"G", sniff.HTTP1, false},
		{"GET / HTTP/1", sniff.HTTP1, false},
		{"GET / HTTP/1.1", sniff.HTTP1, true},
		{"\r\nPROPFIND /x?y HTTP/1.0\r\n", sniff.HTTP1, true},
		{"PRI", sniff.HTTP2, false},
		{"PRI * HTTP/1.1\r\n", sniff.HTTP1, true},
		{preface, sniff.HTTP2, true},
		{preface + "\x00\x00", sniff.HTTP2, true},
		{"PRI * HTTP/2.0\r\n\r\nXX", sniff.Unknown, true},
		{"GET / HTTP/2", sniff.Unknown, true},
		{"GET  HTTP/1.1", sniff.Unknown, true},
		{"SSH-2.0-OpenSSH_9\r\n", sniff.Unknown, true},
		{"EHLO example.com\r\n", sniff.Unknown, true},
		{"*1\r\n$4\r\nPING\r\n", sniff.Unknown, true},
		{"\x00\x00\x00\x08\x04\xd2\x16\x2f", sniff.Unknown, true}, // Postgres SSLRequest
		{"\x16", sniff.TLS, false},
		{"\x16\x03\x01\x02\x00", sniff.TLS, false},
		{"\x16\x03\x01\x02\x00\x01", sniff.TLS, true},
		{"\x16\x03\x01\x02\x00\x02", sniff.Unknown, true},
		{"\x16\x02", sniff.Unknown, true},
		{strings.Repeat("A", 40), sniff.Unknown, true},
	}
	for _, tt := range tests {
		kind, enough := sniff.Protocol([]byte(tt.in))
		if kind != tt.kind || enough != tt.enough {
			t.Errorf("Protocol(%q) = %v, %v; want %v, %v", tt.in, kind, enough, tt.kind, tt.enough)
		}
	}
}

// clientHello is what crypto/tls sends first.
func clientHello(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	go func() {
		tls.Client(a, config).Handshake()
		a.Close()
	}()
	b.SetDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 1<<16)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// fragment cuts the handshake message of one record into records of n bytes.
func fragment(hello []byte, n int) (out []byte) {
	for message := hello[5:]; len(message) > 0; {
		k := min(n, len(message))
		out = append(out, hello[0], hello[1], hello[2], byte(k>>8), byte(k))
		out = append(out, message[:k]...)
		message = message[k:]
	}
	return out
}

func TestClientHelloOfCryptoTLS(t *testing.T) {
	raw := clientHello(t, &tls.Config{ServerName: "Shop.Example", NextProtos: []string{"h2", "http/1.1"}})
	want := sniff.Hello{ServerName: "shop.example", ALPN: []string{"h2", "http/1.1"}, Versions: []uint16{tls.VersionTLS13, tls.VersionTLS12}}
	for _, size := range []int{1 << 14, 100, 1} {
		hello := fragment(raw, size)
		want.Length = len(hello)
		got, err := sniff.ClientHello(append(bytes.Clone(hello), "and more"...))
		if err != nil {
			t.Fatalf("records of %d bytes: %v", size, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("records of %d bytes (-want +got):\n%s", size, diff)
		}
		for n := range len(hello) {
			if _, err := sniff.ClientHello(hello[:n]); !errors.Is(err, sniff.ErrNeedMore) {
				t.Fatalf("records of %d bytes, first %d of %d: %v, want ErrNeedMore", size, n, len(hello), err)
			}
			if kind, enough := sniff.Protocol(hello[:n]); n > 0 && (kind != sniff.TLS || enough != (n > 5)) {
				t.Fatalf("Protocol of the first %d: %v, %v", n, kind, enough)
			}
		}
	}
}

func TestClientHelloWithoutNames(t *testing.T) {
	raw := clientHello(t, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	got, err := sniff.ClientHello(raw)
	if err != nil || got.ServerName != "" || got.ALPN != nil || got.Length != len(raw) {
		t.Errorf("got %+v, %v; want no names, length %d", got, err, len(raw))
	}
}

func TestClientHelloErrors(t *testing.T) {
	raw := clientHello(t, &tls.Config{ServerName: "shop.example"})
	change := func(i int, c byte) []byte {
		b := bytes.Clone(raw)
		b[i] = c
		return b
	}
	name := bytes.Index(raw, []byte("shop"))
	for what, b := range map[string][]byte{
		"alert":               {21, 3, 1, 0, 2, 1, 0},
		"empty record":        {22, 3, 1, 0, 0},
		"record too long":     {22, 3, 1, 0xff, 0xff},
		"server hello":        change(5, 2),
		"message too long":    change(6, 0xff),
		"session id too long": change(5+4+34, 0xff),
		"name with a space":   change(name, ' '),
		"name too long":       change(name-1, 0xff),
		"second record other": append(fragment(raw, 100)[:105], 21, 3, 1, 0, 2, 1, 0),
	} {
		if h, err := sniff.ClientHello(b); err == nil || errors.Is(err, sniff.ErrNeedMore) {
			t.Errorf("%s: %+v, %v; want an error that is not ErrNeedMore", what, h, err)
		}
	}
}

func FuzzProtocol(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Add([]byte(preface))
	f.Add([]byte("\x16\x03\x01\x02\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, enough := sniff.Protocol(b)
		for n := range len(b) {
			k, e := sniff.Protocol(b[:n])
			if e && (k != kind || !enough) {
				t.Fatalf("first %d bytes: %v for sure, all %d: %v, %v", n, k, len(b), kind, enough)
			}
		}
	})
}

func FuzzClientHello(f *testing.F) {
	raw := clientHello(f, &tls.Config{ServerName: "shop.example", NextProtos: []string{"h2"}})
	f.Add(raw, uint8(100))
	f.Add(fragment(raw, 7), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		h, err := sniff.ClientHello(b)
		if err != nil {
			return
		}
		if h.Length > len(b) {
			t.Fatalf("length %d of %d", h.Length, len(b))
		}
		// crypto/tls must see the same name, where it accepts the hello.
		var name string
		seen := false
		server := tls.Server(&replay{r: bytes.NewReader(b)}, &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
			name, seen = i.ServerName, true
			return nil, errors.New("enough")
		}})
		server.Handshake()
		if seen && strings.ToLower(strings.TrimSuffix(name, ".")) != h.ServerName {
			t.Errorf("server name %q, crypto/tls has %q", h.ServerName, name)
		}
	})
}

// replay is a connection that reads from memory.
type replay struct {
	net.Conn
	r *bytes.Reader
}

func (c *replay) Read(p []byte) (int, error)  { return c.r.Read(p) }
func (c *replay) Write(p []byte) (int, error) { return len(p), nil }
func (c *replay) Close() error                { return nil }

package proxyproto_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/speedscale/speedscale/agents/proxyproto"
)

var comparable = cmpopts.EquateComparable(netip.AddrPort{})

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestRoundTrip(t *testing.T) {
	for name, h := range map[string]proxyproto.Header{
		"v4":        {Source: addr("198.18.0.1:4000"), Destination: addr("198.18.0.2:443")},
		"v6":        {Source: addr("[fd00::1]:4000"), Destination: addr("[fd00::2]:443")},
		"names":     {Source: addr("198.18.0.1:4000"), Destination: addr("240.0.0.1:443"), Authority: "api.example.com", ALPN: "h2", SliceKey: "shop:api.example.com:443"},
		"unknown":   {Authority: "api.example.com"},
		"nothing":   {},
		"long name": {SliceKey: strings.Repeat("k", proxyproto.MaxValue)},
	} {
		t.Run(name, func(t *testing.T) {
			r := bufio.NewReader(io.MultiReader(bytes.NewReader(h.AppendTo(nil)), strings.NewReader("GET /")))
			got, err := proxyproto.Read(r)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(&h, got, comparable); d != "" {
				t.Error(d)
			}
			rest, _ := io.ReadAll(r)
			if string(rest) != "GET /" {
				t.Errorf("after the header: %q", rest)
			}
		})
	}
}

func TestMixedFamiliesAreMapped(t *testing.T) {
	h := proxyproto.Header{Source: addr("198.18.0.1:4000"), Destination: addr("[fd00::2]:443")}
	b := h.AppendTo(nil)
	if b[13] != 0x21 {
		t.Errorf("family %#x, want TCP over IPv6", b[13])
	}
	got, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(b)))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&h, got, comparable); d != "" {
		t.Error(d)
	}
}

func TestTooLongValueIsLeftOut(t *testing.T) {
	h := proxyproto.Header{Authority: strings.Repeat("a", proxyproto.MaxValue+1), ALPN: "h2"}
	got, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(h.AppendTo(nil))))
	if err != nil {
		t.Fatal(err)
	}
	if got.Authority != "" || got.ALPN != "h2" {
		t.Errorf("got %+v", got)
	}
}

// TestBytes pins the layout to the one in proxy-protocol.txt.
func TestBytes(t *testing.T) {
	h := proxyproto.Header{Source: addr("1.2.3.4:256"), Destination: addr("5.6.7.8:443"), Authority: "a.b", ALPN: "h2", SliceKey: "s"}
	want := "0d0a0d0a000d0a515549540a" + "21" + "11" + "001b" + "01020304" + "05060708" + "0100" + "01bb" +
		"010002" + "6832" + "020003" + "612e62" + "e00001" + "73"
	if got := hex.EncodeToString(h.AppendTo(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOtherStreams(t *testing.T) {
	for _, c := range []struct {
		in   string
		want error
	}{
		{"GET / HTTP/1.1\r\n", proxyproto.ErrNoHeader},
		{"P", io.ErrUnexpectedEOF},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", proxyproto.ErrNoHeader},
		{"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", proxyproto.ErrVersion1},
		{"\r\n\r\n\x00\r\nQUIX\n", proxyproto.ErrNoHeader},
		{"\r\n", io.ErrUnexpectedEOF},
		{"", io.EOF},
	} {
		r := bufio.NewReader(strings.NewReader(c.in))
		if _, err := proxyproto.Read(r); !errors.Is(err, c.want) {
			t.Errorf("%q: %v, want %v", c.in, err, c.want)
		}
		if rest, _ := io.ReadAll(r); string(rest) != c.in {
			t.Errorf("%q: %q is left", c.in, rest)
		}
	}
}

// TestNoWaitForSecondByte: a server that takes both headers and plain requests
// must be able to tell a short request without a further byte.
func TestNoWaitForSecondByte(t *testing.T) {
	pr, pw := io.Pipe()
	defer pw.Close()
	go pw.Write([]byte("G"))
	if _, err := proxyproto.Read(bufio.NewReader(pr)); !errors.Is(err, proxyproto.ErrNoHeader) {
		t.Error(err)
	}
}

func TestMalformed(t *testing.T) {
	const sig = "\r\n\r\n\x00\r\nQUIT\n"
	for name, c := range map[string]struct{ in, want string }{
		"version":       {sig + "\x11\x11\x00\x00", "version 1"},
		"command":       {sig + "\x22\x11\x00\x00", "command"},
		"UDP":           {sig + "\x21\x12\x00\x00", "not TCP"},
		"too long":      {sig + "\x21\x11\xff\xff", "more than"},
		"short address": {sig + "\x21\x11\x00\x04abcd", "too few"},
		"short UNIX":    {sig + "\x21\x31\x00\x04abcd", "too few"},
		"cut body":      {sig + "\x21\x11\x00\x0cabcd", "unexpected EOF"},
		"cut TLV":       {sig + "\x21\x00\x00\x02\x01\x00", "truncated TLV"},
		"TLV length":    {sig + "\x21\x00\x00\x05\x02\x00\x09ab", "9 bytes long"},
		"TLV too long":  {sig + "\x21\x00\x10\x04\x02\x10\x01" + strings.Repeat("a", 4097), "more than 4096"},
	} {
		_, err := proxyproto.Read(bufio.NewReader(strings.NewReader(c.in)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q in it", name, err, c.want)
		}
	}
}

func TestLocalAndUnknownTLVs(t *testing.T) {
	const sig = "\r\n\r\n\x00\r\nQUIT\n"
	// A LOCAL header with addresses, a NOOP TLV and a CRC32C TLV, as HAProxy's
	// own health checks may send.
	in := sig + "\x20\x11\x00\x16\x01\x02\x03\x04\x05\x06\x07\x08\x00\x01\x00\x02" + "\x04\x00\x00" + "\x03\x00\x04abcd"
	h, err := proxyproto.Read(bufio.NewReader(strings.NewReader(in)))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&proxyproto.Header{}, h, comparable); d != "" {
		t.Error(d)
	}
}

func FuzzRead(f *testing.F) {
	h := proxyproto.Header{Source: addr("1.2.3.4:256"), Destination: addr("5.6.7.8:443"), Authority: "a.b", ALPN: "h2", SliceKey: "s"}
	f.Add(h.AppendTo(nil))
	h6 := proxyproto.Header{Source: addr("[fd00::1]:1"), Destination: addr("[fd00::2]:2")}
	f.Add(h6.AppendTo([]byte("PROXY ")))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		again, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(h.AppendTo(nil))))
		if err != nil {
			t.Fatalf("%+v is not read again: %v", h, err)
		}
		if d := cmp.Diff(h, again, comparable); d != "" {
			t.Error(d)
		}
	})
}

// Package sniff tells from the first bytes of a client which protocol it
// speaks, and reads the ClientHello of TLS. It looks only at bytes that are
// already there and waits for nothing.
package sniff

import "bytes"

// Kind is a protocol that can be told from a client's first bytes.
type Kind uint8

// The protocols that are told apart.
const (
	Unknown Kind = iota
	HTTP1        // a request line (RFC 9112, section 3)
	HTTP2        // the connection preface (RFC 9113, section 3.4)
	TLS          // a handshake record (RFC 8446, section 5.1)
)

// String names the protocol in lower case.
func (k Kind) String() string {
	switch k {
	case HTTP1:
		return "http1"
	case HTTP2:
		return "http2"
	case TLS:
		return "tls"
	}
	return "unknown"
}

// preface is what an HTTP/2 client sends first.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// maxMethod and maxTarget bound what is looked at for a request line.
const (
	maxMethod = 24
	maxTarget = 64 << 10
)

// Protocol tells the protocol from a client's first bytes. With enough false,
// the bytes so far fit a protocol but do not prove it, and more are needed; the
// answer for more bytes never contradicts one that was enough.
func Protocol(b []byte) (kind Kind, enough bool) {
	b = bytes.TrimLeft(b, "\r\n") // empty lines may come before a request
	if len(b) == 0 {
		return Unknown, false
	}
	if b[0] == recordHandshake {
		return tlsRecord(b)
	}
	if n := min(len(b), len(preface)); string(b[:n]) == preface[:n] {
		// "PRI" alone could still be a method of HTTP/1.
		return HTTP2, n == len(preface)
	}
	return requestLine(b)
}

// tlsRecord looks for a handshake record of TLS 1.x that starts a ClientHello.
func tlsRecord(b []byte) (Kind, bool) {
	for i, ok := range []func(c byte) bool{
		1: func(c byte) bool { return c == 3 },
		2: func(c byte) bool { return c <= 4 },
		5: func(c byte) bool { return c == handshakeClientHello },
	} {
		if ok == nil {
			continue
		}
		if i >= len(b) {
			return TLS, false
		}
		if !ok(b[i]) {
			return Unknown, true
		}
	}
	return TLS, true
}

// requestLine looks for method SP request-target SP HTTP/1. in the first line.
func requestLine(b []byte) (Kind, bool) {
	method := bytes.IndexByte(b, ' ')
	if method < 0 {
		if len(b) > maxMethod || !isToken(b) {
			return Unknown, true
		}
		return HTTP1, false
	}
	if method > maxMethod || !isToken(b[:method]) {
		return Unknown, true
	}
	rest := b[method+1:]
	target := bytes.IndexByte(rest, ' ')
	if target < 0 {
		if len(rest) > maxTarget || !isVisible(rest) {
			return Unknown, true
		}
		return HTTP1, false
	}
	if target == 0 || !isVisible(rest[:target]) {
		return Unknown, true
	}
	const version = "HTTP/1."
	v := rest[target+1:]
	n := min(len(v), len(version))
	if string(v[:n]) != version[:n] {
		return Unknown, true
	}
	return HTTP1, n == len(version)
}

// isToken says whether b is a method's characters (RFC 9110, section 5.6.2).
func isToken(b []byte) bool {
	for _, c := range b {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		digit := c >= '0' && c <= '9'
		if !letter && !digit && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) < 0 {
			return false
		}
	}
	return len(b) > 0
}

func isVisible(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

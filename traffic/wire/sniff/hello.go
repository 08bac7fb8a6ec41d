package sniff

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// ErrNeedMore says that the bytes so far are the beginning of a ClientHello.
var ErrNeedMore = errors.New("incomplete ClientHello")

// Values of RFC 8446, sections 4, 4.2 and 5.1, RFC 6066, section 3, and RFC
// 7301, section 3.1.
const (
	recordHandshake      = 22
	recordHeader         = 5
	maxRecord            = 1<<14 + 2048 // TLSCiphertext, the most that is accepted
	handshakeClientHello = 1
	handshakeHeader      = 4
	extensionServerName  = 0
	extensionALPN        = 16
	extensionVersions    = 43
	nameTypeHost         = 0
)

// MaxHello bounds the ClientHello that is read, in bytes with record headers.
const MaxHello = 64 << 10

// Hello is what a ClientHello says.
type Hello struct {
	// ServerName is the host that the client wants (SNI), in lower case and
	// without a final dot; empty where the client names none.
	ServerName string
	// ALPN has the protocols that the client offers, in its order.
	ALPN []string
	// Versions has the versions offered in supported_versions (0x0304 is TLS
	// 1.3); empty for a client older than TLS 1.3.
	Versions []uint16
	// Length is how many bytes the ClientHello takes, with its record headers.
	Length int
}

// ClientHello reads the ClientHello that b starts with, from one or more TLS
// records. It returns ErrNeedMore while b ends before the ClientHello does.
func ClientHello(b []byte) (Hello, error) {
	message, length, err := handshake(b)
	if err != nil {
		return Hello{}, err
	}
	h, err := parseHello(message)
	h.Length = length
	return h, err
}

// handshake joins the fragments of the first handshake message.
func handshake(b []byte) (message []byte, length int, err error) {
	for need := handshakeHeader; ; {
		record := b[length:]
		if length > 0 && len(record) == 0 || len(record) < recordHeader {
			if len(record) > 0 && record[0] != recordHandshake {
				return nil, 0, fmt.Errorf("TLS record type %d in place of a handshake", record[0])
			}
			return nil, 0, ErrNeedMore
		}
		if record[0] != recordHandshake || record[1] != 3 {
			return nil, 0, fmt.Errorf("TLS record type %d version %d.%d in place of a handshake", record[0], record[1], record[2])
		}
		size := int(binary.BigEndian.Uint16(record[3:]))
		if size == 0 || size > maxRecord {
			return nil, 0, fmt.Errorf("TLS record of %d bytes, want 1 to %d", size, maxRecord)
		}
		if length += recordHeader + size; length > MaxHello {
			return nil, 0, fmt.Errorf("ClientHello of more than %d bytes", MaxHello)
		}
		fragment := record[recordHeader:min(len(record), recordHeader+size)]
		if len(message) == 0 { // most ClientHellos are one fragment: no copy
			message = fragment[:len(fragment):len(fragment)]
		} else {
			message = append(message, fragment...)
		}
		if len(message) > 0 && message[0] != handshakeClientHello {
			return nil, 0, fmt.Errorf("TLS handshake message type %d in place of a ClientHello", message[0])
		}
		if len(message) >= handshakeHeader {
			need = handshakeHeader + (int(message[1])<<16 | int(message[2])<<8 | int(message[3]))
			if need > MaxHello {
				return nil, 0, fmt.Errorf("ClientHello of %d bytes, want at most %d", need, MaxHello)
			}
		}
		if len(fragment) < size {
			return nil, 0, ErrNeedMore
		}
		if len(message) >= need {
			return message[handshakeHeader:need], length, nil
		}
	}
}

// reader cuts fields off a message. After a field that is not there, it stays
// failed and gives empty fields.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) bytes(n int) []byte {
	if r.failed || n > len(r.b) {
		r.failed, r.b = true, nil
		return nil
	}
	field := r.b[:n]
	r.b = r.b[n:]
	return field
}

func (r *reader) number(size int) (n int) {
	for _, c := range r.bytes(size) {
		n = n<<8 | int(c)
	}
	return n
}

// vector is a field with its length before it, in so many bytes.
func (r *reader) vector(size int) []byte { return r.bytes(r.number(size)) }

func parseHello(message []byte) (h Hello, err error) {
	r := reader{b: message}
	r.bytes(2 + 32) // legacy_version, random
	r.vector(1)     // legacy_session_id
	r.vector(2)     // cipher_suites
	r.vector(1)     // legacy_compression_methods
	if r.failed {
		return h, errors.New("ClientHello ends before its extensions")
	}
	if len(r.b) == 0 { // SSL 3 and early TLS had no extensions
		return h, nil
	}
	extensions := reader{b: r.vector(2)}
	for len(extensions.b) > 0 {
		kind := extensions.number(2)
		body := reader{b: extensions.vector(2)}
		switch kind {
		case extensionServerName:
			h.ServerName, err = serverName(&body)
		case extensionALPN:
			h.ALPN = protocols(&body)
		case extensionVersions:
			for list := (reader{b: body.vector(1)}); len(list.b) > 1; {
				h.Versions = append(h.Versions, uint16(list.number(2)))
			}
		}
		if err != nil {
			return h, err
		}
		if body.failed {
			return h, fmt.Errorf("ClientHello extension %d is malformed", kind)
		}
	}
	if r.failed || extensions.failed {
		return h, errors.New("ClientHello ends within its extensions")
	}
	return h, nil
}

// serverName reads the host of a server_name extension (RFC 6066, section 3).
func serverName(body *reader) (string, error) {
	for list := (reader{b: body.vector(2)}); len(list.b) > 0; {
		kind := list.number(1)
		name := list.vector(2)
		if list.failed {
			body.failed = true
			return "", nil
		}
		if kind != nameTypeHost {
			continue
		}
		if len(name) == 0 || len(name) > 255 || !isVisible(name) || !isASCII(name) {
			return "", fmt.Errorf("ClientHello has a server name that is no host name: %q", name[:min(len(name), 255)])
		}
		return strings.ToLower(strings.TrimSuffix(string(name), ".")), nil
	}
	return "", nil
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// protocols reads the names of an ALPN extension (RFC 7301, section 3.1).
func protocols(body *reader) (names []string) {
	list := reader{b: body.vector(2)}
	for len(list.b) > 0 {
		name := list.vector(1)
		if list.failed || len(name) == 0 {
			body.failed = true
			return nil
		}
		names = append(names, string(name))
	}
	return names
}

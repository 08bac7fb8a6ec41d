// Package proxyproto writes and reads version 2 of the PROXY protocol, with which
// goproxy tells the responder what a connection was meant for. The format is that
// of HAProxy's proxy-protocol.txt, section 2.2; the slice key is a custom TLV.
package proxyproto

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// MaxValue is how long a TLV value may be, in bytes. No host name (255), ALPN name
// (255) or slice key (two names and a port) comes near it.
const MaxValue = 4096

// maxLength bounds what follows the 16 fixed bytes of a header. The format allows
// 65535; three values and the addresses need less than this.
const maxLength = 16384

// Types of the TLVs that a Header has fields for (proxy-protocol.txt, section
// 2.2; 0xE0 to 0xEF are for custom use).
const (
	typeALPN      = 0x01
	typeAuthority = 0x02
	typeSliceKey  = 0xE0
)

const (
	signature = "\r\n\r\n\x00\r\nQUIT\n"
	fixed     = len(signature) + 4

	commandLocal = 0x20
	commandProxy = 0x21

	familyUnspec = 0x00
	familyTCP4   = 0x11
	familyTCP6   = 0x21
	familyUnix   = 0x31
)

// Errors of Read, to be found with errors.Is.
var (
	// ErrNoHeader says that the stream starts with something else. Nothing has
	// been consumed, so the caller may go on with the stream as it is.
	ErrNoHeader = errors.New("no PROXY protocol v2 header")
	// ErrVersion1 says that the stream starts with the text form of the header,
	// which is not read. Nothing has been consumed.
	ErrVersion1 = errors.New("PROXY protocol v1 header: only version 2 is understood")
)

// Header is what a connection was before it was relayed.
type Header struct {
	// Source and Destination are the client's address and the one that it
	// connected to. Both are invalid (the zero value) where they are not known.
	Source, Destination netip.AddrPort
	// Authority is the host name that the client asked for (SNI or Host).
	Authority string
	// ALPN is the protocol that was negotiated with the client (RFC 7301); empty
	// without TLS.
	ALPN string
	// SliceKey is the recorded place that is stood in for: service:host:port.
	SliceKey string
}

// AppendTo appends the header to dst. Where one of the addresses is not known
// neither is sent. An IPv4 address beside an IPv6 one is sent in its mapped form.
// A value longer than MaxValue is left out, since a part of a name is another name.
func (h *Header) AppendTo(dst []byte) []byte {
	dst = append(dst, signature...)
	start := len(dst)
	src, dest := h.Source.Addr(), h.Destination.Addr()
	switch {
	case !src.IsValid() || !dest.IsValid():
		dst = append(dst, commandProxy, familyUnspec, 0, 0)
	case src.Unmap().Is4() && dest.Unmap().Is4():
		s, d := src.Unmap().As4(), dest.Unmap().As4()
		dst = append(dst, commandProxy, familyTCP4, 0, 0)
		dst = append(append(dst, s[:]...), d[:]...)
		dst = appendPorts(dst, h)
	default:
		s, d := src.As16(), dest.As16()
		dst = append(dst, commandProxy, familyTCP6, 0, 0)
		dst = append(append(dst, s[:]...), d[:]...)
		dst = appendPorts(dst, h)
	}
	dst = appendTLV(dst, typeALPN, h.ALPN)
	dst = appendTLV(dst, typeAuthority, h.Authority)
	dst = appendTLV(dst, typeSliceKey, h.SliceKey)
	binary.BigEndian.PutUint16(dst[start+2:], uint16(len(dst)-start-4))
	return dst
}

func appendPorts(dst []byte, h *Header) []byte {
	dst = binary.BigEndian.AppendUint16(dst, h.Source.Port())
	return binary.BigEndian.AppendUint16(dst, h.Destination.Port())
}

func appendTLV(dst []byte, kind byte, value string) []byte {
	if value == "" || len(value) > MaxValue {
		return dst
	}
	dst = binary.BigEndian.AppendUint16(append(dst, kind), uint16(len(value)))
	return append(dst, value...)
}

// Read reads a header from the start of a connection. It consumes exactly the
// header, at most 16 KiB, and waits for no byte beyond it: the caller sets a read
// deadline. A stream that starts otherwise gives ErrNoHeader or ErrVersion1 with
// nothing consumed. TLVs of other types are skipped. A LOCAL header (a health
// check of the sender's own) has no addresses.
func Read(r *bufio.Reader) (*Header, error) {
	if err := peekSignature(r); err != nil {
		return nil, err
	}
	var head [fixed]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("PROXY header: %w", err)
	}
	command, family := head[12], head[13]
	n := int(binary.BigEndian.Uint16(head[14:]))
	if command>>4 != 2 {
		return nil, fmt.Errorf("PROXY header: version %d, want 2", command>>4)
	}
	if command != commandLocal && command != commandProxy {
		return nil, fmt.Errorf("PROXY header: unknown command %#x", command&0xf)
	}
	if n > maxLength {
		return nil, fmt.Errorf("PROXY header: %d bytes long, more than %d", n, maxLength)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, fmt.Errorf("PROXY header: %w", err)
	}
	h := new(Header)
	rest, err := h.addresses(family, body)
	if err != nil {
		return nil, err
	}
	if command == commandLocal {
		// The addresses of a LOCAL header are to be discarded.
		h.Source, h.Destination = netip.AddrPort{}, netip.AddrPort{}
	}
	if err := h.tlvs(rest); err != nil {
		return nil, err
	}
	return h, nil
}

// peekSignature looks at no byte more than it needs, so that a short stream of
// another protocol is told apart without waiting for its next byte.
func peekSignature(r *bufio.Reader) error {
	const v1 = "PROXY "
	isV1 := true
	for i := range len(signature) {
		b, err := r.Peek(i + 1)
		if err != nil {
			if i > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("PROXY header: %w", err)
		}
		isV1 = isV1 && i < len(v1) && b[i] == v1[i]
		switch {
		case isV1 && i == len(v1)-1:
			return ErrVersion1
		case isV1 && i < len(v1):
		case b[i] != signature[i]:
			return ErrNoHeader
		}
	}
	return nil
}

func (h *Header) addresses(family byte, body []byte) (rest []byte, err error) {
	var size int
	switch family {
	case familyUnspec:
		return body, nil
	case familyTCP4:
		size = 4
	case familyTCP6:
		size = 16
	case familyUnix, familyUnix + 1:
		// Addresses of UNIX sockets: two paths of 108 bytes, of no use here.
		if len(body) < 216 {
			return nil, fmt.Errorf("PROXY header: %d bytes are too few for UNIX addresses", len(body))
		}
		return body[216:], nil
	default:
		return nil, fmt.Errorf("PROXY header: address family and protocol %#x are not TCP", family)
	}
	if len(body) < 2*size+4 {
		return nil, fmt.Errorf("PROXY header: %d bytes are too few for addresses of %d", len(body), size)
	}
	src, _ := netip.AddrFromSlice(body[:size])
	dst, _ := netip.AddrFromSlice(body[size : 2*size])
	ports := body[2*size:]
	h.Source = netip.AddrPortFrom(src.Unmap(), binary.BigEndian.Uint16(ports))
	h.Destination = netip.AddrPortFrom(dst.Unmap(), binary.BigEndian.Uint16(ports[2:]))
	return ports[4:], nil
}

func (h *Header) tlvs(b []byte) error {
	for len(b) > 0 {
		if len(b) < 3 {
			return errors.New("PROXY header: truncated TLV")
		}
		kind, n := b[0], int(binary.BigEndian.Uint16(b[1:]))
		if len(b) < 3+n {
			return fmt.Errorf("PROXY header: TLV %#x is %d bytes long, but %d are left", kind, n, len(b)-3)
		}
		value := b[3 : 3+n]
		b = b[3+n:]
		var field *string
		switch kind {
		case typeALPN:
			field = &h.ALPN
		case typeAuthority:
			field = &h.Authority
		case typeSliceKey:
			field = &h.SliceKey
		default:
			continue
		}
		if n > MaxValue {
			return fmt.Errorf("PROXY header: TLV %#x is %d bytes long, more than %d", kind, n, MaxValue)
		}
		*field = string(value)
	}
	return nil
}

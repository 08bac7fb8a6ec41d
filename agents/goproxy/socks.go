package goproxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
)

// Values of RFC 1928; version 4 is from the "SOCKS 4A" memo that curl implements.
const (
	socks5 = 5
	socks4 = 4

	socksConnect = 1
	socksNoAuth  = 0
	socksNoneFit = 0xff

	socksIPv4   = 1
	socksDomain = 3
	socksIPv6   = 4

	socksOK           = 0
	socksFailure      = 1
	socksNotAllowed   = 2
	socksNoNetwork    = 3
	socksNoHost       = 4
	socksRefused      = 5
	socksNoCommand    = 7
	socksNoAddress    = 8
	socks4OK          = 90
	socks4Refused     = 91
	maxSOCKS4Text     = 255
	socks4NameIsNext  = 0x000000ff // 0.0.0.x, x not 0: a name follows
	socks4ReplyLength = 8
)

// askSOCKS5 reads a SOCKS 5 request (RFC 1928) without authentication, and no
// byte more.
func askSOCKS5(d *dependency) error {
	c := d.client
	var b [262]byte
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return err
	}
	methods := b[2 : 2+int(b[1])]
	if _, err := io.ReadFull(c, methods); err != nil {
		return err
	}
	choice := byte(socksNoneFit)
	for _, m := range methods {
		if m == socksNoAuth {
			choice = socksNoAuth
		}
	}
	if _, err := c.Write([]byte{socks5, choice}); err != nil {
		return err
	}
	if choice == socksNoneFit {
		return errors.New("SOCKS: the client wants to authenticate, which is not offered")
	}
	if _, err := io.ReadFull(c, b[:4]); err != nil {
		return err
	}
	command, kind := b[1], b[3]
	if b[0] != socks5 {
		return fmt.Errorf("SOCKS: version %d in the request", b[0])
	}
	host, err := socksHost(c, kind, b[:])
	if err != nil {
		if errors.Is(err, errSOCKSAddress) {
			socks5Reply(c, socksNoAddress)
		}
		return err
	}
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return err
	}
	if command != socksConnect {
		socks5Reply(c, socksNoCommand)
		return fmt.Errorf("SOCKS: command %d is not CONNECT", command)
	}
	d.to = target{host: host, port: binary.BigEndian.Uint16(b[:2])}
	d.answer = func(err error) error { return socks5Reply(c, socks5Code(err)) }
	return nil
}

var errSOCKSAddress = errors.New("SOCKS: unknown type of address")

// socksHost reads an address of the given type.
func socksHost(c net.Conn, kind byte, b []byte) (string, error) {
	n := 0
	switch kind {
	case socksIPv4:
		n = 4
	case socksIPv6:
		n = 16
	case socksDomain:
		if _, err := io.ReadFull(c, b[:1]); err != nil {
			return "", err
		}
		n = int(b[0])
	default:
		return "", fmt.Errorf("%w: %d", errSOCKSAddress, kind)
	}
	if _, err := io.ReadFull(c, b[:n]); err != nil {
		return "", err
	}
	if kind == socksDomain {
		if n == 0 {
			return "", errors.New("SOCKS: empty host name")
		}
		return string(b[:n]), nil
	}
	a, _ := netip.AddrFromSlice(b[:n])
	return a.Unmap().String(), nil
}

// socks5Reply answers without an address, which no client of CONNECT needs.
func socks5Reply(c net.Conn, code byte) error {
	_, err := c.Write([]byte{socks5, code, 0, socksIPv4, 0, 0, 0, 0, 0, 0})
	return err
}

func socks5Code(err error) byte {
	var dns *net.DNSError
	switch {
	case err == nil:
		return socksOK
	case errors.Is(err, errRefusedByRoute), errors.Is(err, errOwnAddress):
		return socksNotAllowed
	case errors.Is(err, syscall.ECONNREFUSED):
		return socksRefused
	case errors.Is(err, syscall.ENETUNREACH):
		return socksNoNetwork
	case errors.Is(err, syscall.EHOSTUNREACH), errors.As(err, &dns), errors.Is(err, context.DeadlineExceeded):
		return socksNoHost
	default:
		return socksFailure
	}
}

// askSOCKS4 reads a SOCKS 4 or 4a request, and no byte more.
func askSOCKS4(d *dependency) error {
	c := d.client
	var b [8]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return err
	}
	if _, err := socks4Text(c); err != nil { // the user's name
		return err
	}
	host := netip.AddrFrom4([4]byte(b[4:8])).String()
	if ip := binary.BigEndian.Uint32(b[4:8]); ip != 0 && ip <= socks4NameIsNext {
		name, err := socks4Text(c)
		if err != nil {
			return err
		}
		if name == "" {
			return errors.New("SOCKS 4a: empty host name")
		}
		host = name
	}
	reply := func(code byte) error {
		_, err := c.Write(append([]byte{0, code}, make([]byte, socks4ReplyLength-2)...))
		return err
	}
	if b[1] != socksConnect {
		reply(socks4Refused)
		return fmt.Errorf("SOCKS 4: command %d is not CONNECT", b[1])
	}
	d.to = target{host: host, port: binary.BigEndian.Uint16(b[2:4])}
	d.answer = func(err error) error {
		if err != nil {
			return reply(socks4Refused)
		}
		return reply(socks4OK)
	}
	return nil
}

// socks4Text reads a text that ends with a zero byte.
func socks4Text(c net.Conn) (string, error) {
	var text []byte
	var b [1]byte
	for len(text) <= maxSOCKS4Text {
		if _, err := io.ReadFull(c, b[:]); err != nil {
			return "", err
		}
		if b[0] == 0 {
			return string(text), nil
		}
		text = append(text, b[0])
	}
	return "", errors.New("SOCKS 4: text is too long")
}

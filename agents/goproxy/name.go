package goproxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/speedscale/speedscale/traffic/wire/sniff"
)

// nameLimit is how long a client may take to name its host, in a replay that
// must know it.
const nameLimit = 10 * time.Second

var errNamesNoHost = errors.New("the first bytes name no host")

// nameAsked is the host that a client names in its first bytes (SNI, Host or
// :authority), in lower case without port. It consumes none of them.
func nameAsked(client *net.TCPConn) (string, error) {
	client.SetReadDeadline(time.Now().Add(nameLimit))
	defer client.SetReadDeadline(time.Time{})
	var name string
	var err error
	_, perr := peek(client, make([]byte, sniff.MaxHello), func(b []byte) bool {
		var enough bool
		name, enough, err = nameIn(b)
		return enough
	})
	switch {
	case perr != nil:
		return "", perr
	case err != nil:
		return "", err
	case name == "":
		return "", errNamesNoHost
	}
	return name, nil
}

// nameIn reads the host out of the first bytes of a client. Without enough more
// bytes are needed.
func nameIn(b []byte) (name string, enough bool, err error) {
	kind, enough := sniff.Protocol(b)
	if !enough {
		return "", false, errNamesNoHost
	}
	switch kind {
	case sniff.TLS:
		h, err := sniff.ClientHello(b)
		return h.ServerName, !errors.Is(err, sniff.ErrNeedMore), err
	case sniff.HTTP1:
		if !bytes.Contains(b, []byte("\r\n\r\n")) && !bytes.Contains(b, []byte("\n\n")) {
			return "", false, errNamesNoHost
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return "", true, err
		}
		return hostOf(r.Host), true, nil
	case sniff.HTTP2:
		name, err = authorityIn(b)
		return name, !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF), err
	}
	return "", true, errNamesNoHost
}

// authorityIn reads :authority of the first request of an HTTP/2 connection.
func authorityIn(b []byte) (string, error) {
	f := http2.NewFramer(io.Discard, bytes.NewReader(b[len(http2.ClientPreface):]))
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.MaxHeaderListSize = 64 << 10
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return "", err
		}
		if h, ok := frame.(*http2.MetaHeadersFrame); ok {
			return hostOf(h.PseudoValue("authority")), nil
		}
	}
}

// hostOf is a host without its port, in lower case.
func hostOf(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		authority = host
	}
	return strings.ToLower(strings.Trim(authority, "[]"))
}

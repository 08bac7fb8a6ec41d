package goproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"
)

// Limits on a client that has not said yet where it wants to go.
const (
	// idleLimit is how long it may be silent, since some connect in advance.
	idleLimit = 5 * time.Minute
	// askLimit is how long it may take to say it.
	askLimit = 30 * time.Second
	// maxConnectHead is the longest head of a CONNECT request, in bytes.
	maxConnectHead = 16 << 10
)

// forward takes a connection of an app that uses us as its proxy. The first byte
// tells the protocol: 4 and 5 are SOCKS, whatever else is HTTP.
func (p *Proxy) forward(ctx context.Context, client *net.TCPConn) {
	client.SetReadDeadline(time.Now().Add(idleLimit))
	head, err := peek(client, make([]byte, len("CONNECT ")), func(b []byte) bool {
		return b[0] == socks4 || b[0] == socks5 || !bytes.HasPrefix([]byte("CONNECT "), b)
	})
	if err != nil {
		client.Close()
		return
	}
	client.SetReadDeadline(time.Now().Add(askLimit))
	d := &dependency{client: client, start: time.Now()}
	switch {
	case head[0] == socks5:
		err = askSOCKS5(d)
	case head[0] == socks4:
		err = askSOCKS4(d)
	case string(head) == "CONNECT ":
		err = askConnect(d)
	default:
		p.proxyHTTP(ctx, client)
		return
	}
	if err != nil {
		p.refused[out].add(refusedRequest)
		p.log.Debug("proxy request refused", "client", client.RemoteAddr().String(), "error", err)
		client.Close()
		return
	}
	client.SetReadDeadline(time.Time{})
	p.outbound(ctx, d)
}

// askConnect reads a CONNECT request (RFC 9110, section 9.3.6), and no byte more.
func askConnect(d *dependency) error {
	buf := make([]byte, maxConnectHead)
	end := func(b []byte) int {
		if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
			return i + 4
		}
		return 0
	}
	head, err := peek(d.client, buf, func(b []byte) bool { return end(b) > 0 })
	if err != nil {
		return err
	}
	n := end(head)
	if n == 0 {
		httpError(d.client, http.StatusRequestHeaderFieldsTooLarge, "the head of the CONNECT request is too long")
		return errors.New("head of CONNECT is too long")
	}
	if _, err := io.ReadFull(d.client, buf[:n]); err != nil {
		return err
	}
	line, _, _ := bytes.Cut(head[:n], []byte("\r\n"))
	fields := bytes.Fields(line)
	if len(fields) != 3 || !bytes.HasPrefix(fields[2], []byte("HTTP/1.")) {
		httpError(d.client, http.StatusBadRequest, "malformed CONNECT request")
		return fmt.Errorf("malformed request line %q", line)
	}
	if d.to, err = parseTarget(string(fields[1])); err != nil {
		httpError(d.client, http.StatusBadRequest, "CONNECT wants host:port")
		return err
	}
	d.answer = func(err error) error {
		if err != nil {
			return httpError(d.client, statusOf(err), "the proxy cannot connect: "+why(err))
		}
		_, err = d.client.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n"))
		return err
	}
	return nil
}

// httpError answers a request that goes nowhere.
func httpError(c net.Conn, status int, text string) error {
	c.SetWriteDeadline(time.Now().Add(askLimit))
	defer c.SetWriteDeadline(time.Time{})
	_, err := fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
		status, http.StatusText(status), len(text)+1, text)
	return err
}

func statusOf(err error) int {
	var ne net.Error
	switch {
	case errors.Is(err, errRefusedByRoute):
		return http.StatusForbidden
	case errors.As(err, &ne) && ne.Timeout():
		return http.StatusGatewayTimeout
	default:
		return http.StatusBadGateway
	}
}

// why is what a client is told of a failed dial: what happened, without our addresses.
func why(err error) string {
	var dns *net.DNSError
	var ne net.Error
	switch {
	case errors.Is(err, errRefusedByRoute), errors.Is(err, errOwnAddress):
		return err.Error()
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to host"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host"
	case errors.As(err, &ne) && ne.Timeout():
		return "time-out"
	default:
		return "network error"
	}
}

// hangUp ends a client in order: it can read what was sent last, which a close
// with unread bytes would destroy.
func hangUp(c *net.TCPConn) {
	c.CloseWrite()
	c.SetReadDeadline(time.Now().Add(time.Second))
	var b [1024]byte
	for range 64 {
		if _, err := c.Read(b[:]); err != nil {
			break
		}
	}
	c.Close()
}

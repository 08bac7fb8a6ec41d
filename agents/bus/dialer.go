package bus

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// connectDialer dials through the HTTP proxy that the environment names, by
// CONNECT (RFC 9110, section 9.3.6), or directly.
type connectDialer struct {
	proxy   func(*url.URL) (*url.URL, error)
	timeout time.Duration
	rootCAs *x509.CertPool
}

// Dial implements nats.CustomDialer.
func (d *connectDialer) Dial(network, address string) (net.Conn, error) {
	// All of the bus counts as https for the choice of the proxy: plain
	// requests could not be sent through one without CONNECT.
	proxy, err := d.proxy(&url.URL{Scheme: "https", Host: address})
	if err != nil {
		return nil, fmt.Errorf("proxy setting: %w", err)
	}
	nd := &net.Dialer{Timeout: d.timeout}
	if proxy == nil {
		return nd.Dial(network, address)
	}
	port := proxy.Port()
	if port == "" {
		port = "80"
		if proxy.Scheme == "https" {
			port = "443"
		}
	}
	var conn net.Conn
	at := net.JoinHostPort(proxy.Hostname(), port)
	switch proxy.Scheme {
	case "http":
		conn, err = nd.Dial(network, at)
	case "https":
		conn, err = tls.DialWithDialer(nd, network, at, &tls.Config{RootCAs: d.rootCAs, MinVersion: tls.VersionTLS12})
	default:
		return nil, fmt.Errorf("proxy %q: scheme %q is not http or https", proxy.Redacted(), proxy.Scheme)
	}
	if err != nil {
		return nil, fmt.Errorf("proxy %q: %w", proxy.Redacted(), err)
	}
	c, err := d.tunnel(conn, proxy, address)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("proxy %q: %w", proxy.Redacted(), err)
	}
	return c, nil
}

func (d *connectDialer) tunnel(conn net.Conn, proxy *url.URL, address string) (net.Conn, error) {
	if err := conn.SetDeadline(time.Now().Add(d.timeout)); err != nil {
		return nil, err
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	if u := proxy.User; u != nil {
		password, _ := u.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	// The server of NATS speaks first: what follows the head is already its.
	br := bufio.NewReaderSize(io.LimitReader(conn, 64<<10), 4096)
	res, err := http.ReadResponse(br, req)
	if err != nil {
		return nil, fmt.Errorf("answer to CONNECT %s: %w", address, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("CONNECT %s was answered with %q", address, res.Status)
	}
	early, err := br.Peek(br.Buffered())
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if len(early) == 0 {
		return conn, nil
	}
	return &tunnelConn{Conn: conn, early: early}, nil
}

// tunnelConn gives back what was read together with the proxy's answer.
type tunnelConn struct {
	net.Conn
	early []byte
}

func (c *tunnelConn) Read(b []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(b, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

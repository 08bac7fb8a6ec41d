package responder

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/speedscale/speedscale/agents/http1"
	"github.com/speedscale/speedscale/traffic"
)

const (
	// coalesce is up to which length a body is copied behind its head, so that
	// both go out in one packet.
	coalesce = 16 << 10
	// longBody is from which length on a client has bodyTimeout to read it.
	longBody = 256 << 10
	// maxPending bounds the answers to pipelined requests that wait to be sent.
	maxPending = 64 << 10
)

// http1Conn serves HTTP/1.x on one connection. Its memory is used again by each
// request; what outlives a request is copied.
type http1Conn struct {
	*server
	net      *bufferedConn
	origin   *origin
	reader   *http1.Reader
	msg      http1.Message
	out      []byte // answers that are not sent yet
	pair     *traffic.RRPair
	fields   []*traffic.Header
	deadline time.Time
}

func newHTTP1Conn(s *server, nc *bufferedConn, o *origin) *http1Conn {
	c := &http1Conn{
		server: s, net: nc, origin: o,
		pair: &traffic.RRPair{Http: &traffic.HTTP{Req: &traffic.HTTPRequest{}}},
	}
	c.reader = http1.NewReader(c)
	c.reader.MaxHead, c.reader.MaxBody = s.opts.MaxHead, s.opts.MaxBody
	return c
}

// Read is how the reader gets bytes: answers are sent before the connection waits.
func (c *http1Conn) Read(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.net.Read(p)
}

func (c *http1Conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.net.Write(c.out)
	if c.out = c.out[:0]; cap(c.out) > maxPending {
		c.out = nil
	}
	return err
}

func (c *http1Conn) serve(ctx context.Context) {
	for {
		c.extend(c.opts.IdleTimeout)
		if ctx.Err() != nil { // after the deadline is set: see connSet
			return
		}
		err := c.reader.ReadRequestHead(&c.msg)
		if err == nil {
			err = c.readBody()
		}
		if err != nil {
			c.refuse(err)
			return
		}
		last := c.msg.Close || ctx.Err() != nil
		if err := c.answer(ctx, last); err != nil {
			return
		}
		if last {
			if c.flush() == nil {
				c.linger()
			}
			return
		}
	}
}

// extend sets the connection's deadline, but not with each request: it stays
// where more than half of the time is left.
func (c *http1Conn) extend(d time.Duration) {
	if now := time.Now(); c.deadline.Sub(now) < d/2 {
		c.deadline = now.Add(d)
		c.net.SetDeadline(c.deadline)
	}
}

func (c *http1Conn) readBody() error {
	if c.msg.Continue {
		c.out = append(c.out, "HTTP/1.1 100 Continue\r\n\r\n"...)
	}
	if c.msg.Bodiless() {
		return c.reader.ReadBody(&c.msg)
	}
	c.extend(bodyTimeout)
	return c.reader.ReadBody(&c.msg)
}

// refuse answers what is not a request, where that makes sense.
func (c *http1Conn) refuse(err error) {
	pe, ok := errors.AsType[*http1.ProtocolError](err)
	if !ok {
		return // the connection ended, or nothing came in time
	}
	c.opts.Logger.Debug("malformed request", "remote", c.net.RemoteAddr().String(), "error", err)
	text := pe.Reason + "\n"
	c.out = append(c.out, "HTTP/1.1 "+strconv.Itoa(pe.Status)+" "+http.StatusText(pe.Status)+
		"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "+strconv.Itoa(len(text))+"\r\nConnection: close\r\n\r\n"+text...)
	if c.flush() == nil {
		c.linger()
	}
}

// linger lets the client read the last answer: closing while unread bytes of its
// own are on the way would reset the connection and lose the answer (RFC 9112,
// section 9.6).
func (c *http1Conn) linger() {
	half, ok := c.net.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.net.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	io.Copy(io.Discard, io.LimitReader(c.net, 1<<20))
}

// request makes a record of the message, valid until the next one.
func (c *http1Conn) request() *traffic.RRPair {
	m, p, req := &c.msg, c.pair, c.pair.Http.Req
	head := string(m.Head)
	for len(c.fields) < len(m.Fields) {
		c.fields = append(c.fields, new(traffic.Header))
	}
	for i, f := range m.Fields {
		c.fields[i].Name, c.fields[i].Value = f.Name.In(head), f.Value.In(head)
	}
	req.Headers = c.fields[:len(m.Fields)]
	req.Method, req.Uri = m.Start[0].In(head), m.Start[1].In(head)
	req.Version = "1.1"
	if m.Minor == 0 {
		req.Version = "1.0"
	}
	req.Host, _ = traffic.HeaderValue(req.Headers, "Host")
	req.Body, req.BodySize, req.Trailers = m.Body, m.BodySize, nil
	if len(m.TrailerFields) > 0 {
		trailer := string(m.Trailer)
		for _, f := range m.TrailerFields {
			req.Trailers = append(req.Trailers, &traffic.Header{Name: f.Name.In(trailer), Value: f.Value.In(trailer)})
		}
	}
	if rest, ok := strings.CutPrefix(req.Uri, "http://"); ok { // as to a proxy
		req.Host, _, _ = strings.Cut(rest, "/")
	}
	c.describe(p)
	return p
}

// answer appends the response to a request, or sends it.
func (c *http1Conn) answer(ctx context.Context, last bool) error {
	made := c.respond(ctx, c.origin, c.request())
	old := c.msg.Minor == 0
	if old && made.chunked {
		c.out = append(c.out, made.unchunked()...)
	} else {
		c.out = append(c.out, made.head...)
	}
	switch {
	case last:
		c.out = append(c.out, "Connection: close\r\n\r\n"...)
	case old:
		c.out = append(c.out, "Connection: keep-alive\r\n\r\n"...)
	default:
		c.out = append(c.out, "\r\n"...)
	}
	inChunks := made.chunked && !old
	if inChunks && len(made.body) > 0 {
		c.out = append(strconv.AppendInt(c.out, int64(len(made.body)), 16), "\r\n"...)
	}
	if err := c.writeBody(made.body); err != nil {
		return err
	}
	if inChunks {
		c.out = made.appendTail(c.out)
	}
	return nil
}

// writeBody appends a short body to what goes out, and sends a long one.
func (c *http1Conn) writeBody(body []byte) error {
	if len(body) <= coalesce {
		c.out = append(c.out, body...)
		if len(c.out) > maxPending {
			return c.flush()
		}
		return nil
	}
	if len(body) > longBody {
		c.extend(bodyTimeout)
	}
	buffers := net.Buffers{c.out, body}
	_, err := buffers.WriteTo(c.net.Conn)
	c.out = c.out[:0]
	return err
}

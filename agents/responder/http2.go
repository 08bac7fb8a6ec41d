package responder

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/speedscale/speedscale/agents/http1"
	"github.com/speedscale/speedscale/agents/replay"
	"github.com/speedscale/speedscale/traffic"
)

// http2Server serves HTTP/2, and gRPC on it, with net/http. Connections come to it
// decrypted and with their preface ahead, whatever was before that.
type http2Server struct {
	responder *Responder
	http      *http.Server
	listener  *handover
}

func newHTTP2Server(r *Responder) *http2Server {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	s := &http2Server{responder: r, listener: &handover{conns: make(chan net.Conn), closed: make(chan struct{})}}
	s.http = &http.Server{
		Handler:           s,
		Protocols:         &protocols,
		ReadHeaderTimeout: headTimeout,
		ReadTimeout:       bodyTimeout,
		IdleTimeout:       r.opts.IdleTimeout,
		HTTP2:             &http.HTTP2Config{WriteByteTimeout: time.Minute},
		MaxHeaderBytes:    r.opts.MaxHead,
		ErrorLog:          slog.NewLogLogger(r.opts.Logger.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			return context.WithValue(ctx, originKey{}, nc.(*http2Conn).origin)
		},
	}
	s.listener.serving.Go(func() { s.http.Serve(s.listener) })
	return s
}

type originKey struct{}

// http2Conn tells when net/http has closed it.
type http2Conn struct {
	net.Conn
	origin *origin
	once   sync.Once
	done   chan struct{}
}

func (c *http2Conn) Close() error {
	defer c.once.Do(func() { close(c.done) })
	return c.Conn.Close()
}

// serve hands a connection over, and returns when it has ended.
func (s *http2Server) serve(nc net.Conn, o *origin) {
	nc.SetDeadline(time.Time{})
	c := &http2Conn{Conn: nc, origin: o, done: make(chan struct{})}
	select {
	case s.listener.conns <- c:
		<-c.done
	case <-s.listener.closed:
	}
}

// shutdown lets requests under way end, for as long as they may take.
func (s *http2Server) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		s.http.Close()
	}
	s.listener.serving.Wait()
}

// handover is a listener for connections that were accepted elsewhere.
type handover struct {
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
	serving sync.WaitGroup
}

func (h *handover) Accept() (net.Conn, error) {
	select {
	case nc := <-h.conns:
		return nc, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handover) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handover) Addr() net.Addr { return &net.TCPAddr{} }

// ServeHTTP answers one request.
func (s *http2Server) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	o := in.Context().Value(originKey{}).(*origin)
	p, err := s.request(in)
	if err != nil {
		return // the stream was reset
	}
	made := s.responder.respond(in.Context(), o, p)
	header := w.Header()
	header["Date"], header["Content-Type"] = nil, nil // only as recorded
	for name, value := range made.fields {
		if !http1.HopByHop(name) {
			header.Add(name, value)
		}
	}
	w.WriteHeader(made.status)
	if len(made.body) > 0 {
		if _, err := w.Write(made.body); err != nil {
			return
		}
	}
	for _, h := range made.trailers {
		header.Add(http.TrailerPrefix+h.Name, h.Value)
	}
}

// request makes a record of a request, of whose body it reads all and keeps as
// much as the limit allows.
func (s *http2Server) request(in *http.Request) (*traffic.RRPair, error) {
	limit := int64(s.responder.opts.MaxBody)
	body, err := io.ReadAll(io.LimitReader(in.Body, limit))
	if err != nil {
		return nil, err
	}
	rest, err := io.Copy(io.Discard, in.Body)
	if err != nil {
		return nil, err
	}
	req := &traffic.HTTPRequest{
		Uri: in.RequestURI, Version: "2.0", Method: in.Method, Host: in.Host,
		Headers: replay.Fields(in.Header, true), Trailers: replay.Fields(in.Trailer, true),
		Body: body, BodySize: int64(len(body)) + rest,
	}
	p := &traffic.RRPair{Http: &traffic.HTTP{Req: req}}
	s.responder.describe(p)
	return p, nil
}

package goproxy_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/goproxy"
)

// FuzzForward sends any bytes to the forward port: the proxy answers or hangs up,
// and goes on serving. Its routing refuses every host.
func FuzzForward(f *testing.F) {
	for _, s := range []string{
		"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST http://127.0.0.1:1/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n",
		"\x05\x01\x00\x05\x01\x00\x03\x01x\x00\x01",
		"\x04\x01\x00\x01\x00\x00\x00\x01u\x00name\x00",
	} {
		f.Add([]byte(s))
	}
	cfg := forward()
	cfg.Route = &config.Route{Default: config.RouteRefuse} // nobody is dialled
	p, err := goproxy.New(cfg, goproxy.Options{})
	if err != nil {
		f.Fatal(err)
	}
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- p.Run(ctx) }()
	f.Cleanup(func() {
		cancel()
		<-done
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := net.Dial("tcp", p.OutAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		go func() {
			c.Write(b)
			c.(*net.TCPConn).CloseWrite()
		}()
		io.Copy(io.Discard, io.LimitReader(c, 1<<20))
	})
}

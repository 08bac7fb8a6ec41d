package initproxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/dnsrelay"
	"github.com/speedscale/speedscale/agents/goproxy"
	"github.com/speedscale/speedscale/agents/origdst"
	"github.com/speedscale/speedscale/traffic"
)

// role is set in the environment of copies of this test that play a part in a
// network namespace.
const role = "INITPROXY_TEST_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(role) {
	case "proxy":
		err = playProxy()
	case "world":
		err = playWorld()
	case "responder":
		err = playResponder()
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func untilSignal() context.Context {
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	return ctx
}

// playProxy is goproxy in transparent mode with the DNS relay. It prints a line
// for each connection that it is given and for each pair that it captured.
func playProxy() error {
	r, err := dnsrelay.New(dnsrelay.Options{
		Listen:      []string{"127.0.0.1:4153", "[::1]:4153"},
		Nameservers: []netip.AddrPort{netip.MustParseAddrPort(worldV4 + ":53")},
		Synthesize:  []string{"gone.test"},
	})
	if err != nil {
		return err
	}
	listeners := make(map[string]net.Listener)
	for name, addr := range map[string]string{"in": ":4143", "out": ":4140"} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		listeners[addr] = &tellingListener{l, name, r}
	}
	p, err := goproxy.New(config.Proxy{Mode: config.ModeTransparent, InListen: ":4143", OutListen: ":4140"},
		goproxy.Options{Recorder: tellingRecorder{}, Listeners: listeners, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	ctx := untilSignal()
	var wg sync.WaitGroup
	wg.Go(func() { r.Run(ctx) })
	err = p.Run(ctx)
	wg.Wait()
	return err
}

// tellingListener prints where each connection was going, after its name if known.
type tellingListener struct {
	net.Listener
	name  string
	relay *dnsrelay.Relay
}

func (l *tellingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	to, err := origdst.Of(c.(*net.TCPConn))
	if err != nil {
		fmt.Println("error", err)
		return c, nil
	}
	if name, ok := l.relay.Name(to.Addr()); ok {
		fmt.Println("name", name)
	}
	fmt.Println(l.name, to)
	return c, nil
}

type tellingRecorder struct{}

func (tellingRecorder) Pair(p *traffic.RRPair) {
	direction := map[traffic.Direction]string{traffic.Direction_DIRECTION_IN: "in", traffic.Direction_DIRECTION_OUT: "out"}[p.Direction]
	fmt.Println("pair", direction, p.Command, p.Location, p.Status)
}

func (tellingRecorder) Lost(*traffic.Loss) {}

// playWorld is what the app depends on, beside the real servers: a nameserver, a
// server that speaks first, one that answers after the client's half-close, and
// one that resets.
func playWorld() error {
	u, err := net.ListenPacket("udp", worldV4+":53")
	if err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			u.WriteTo(resolve(buf[:n]), from)
		}
	}()
	for addr, serve := range map[string]func(*net.TCPConn){
		worldV4 + ":53": serveDNS,
		":2222": func(c *net.TCPConn) {
			c.Write([]byte("SSH-2.0-test\r\n"))
			io.Copy(io.Discard, c)
		},
		":7000": func(c *net.TCPConn) {
			b, err := io.ReadAll(c)
			if err != nil {
				fmt.Println("read:", errors.Is(err, syscall.ECONNRESET))
				return
			}
			c.Write(bytes.ToUpper(b))
		},
		":7001": func(c *net.TCPConn) {
			c.Read(make([]byte, 1))
			c.SetLinger(0)
		},
		":7002": func(c *net.TCPConn) { io.Copy(c, c) },
	} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { serve(c.(*net.TCPConn)); c.Close() }()
			}
		}()
	}
	fmt.Println("ready")
	<-untilSignal().Done()
	return nil
}

func serveDNS(c *net.TCPConn) {
	for {
		var n [2]byte
		if _, err := io.ReadFull(c, n[:]); err != nil {
			return
		}
		query := make([]byte, int(n[0])<<8|int(n[1]))
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		answer := resolve(query)
		c.Write(append([]byte{byte(len(answer) >> 8), byte(len(answer))}, answer...))
	}
}

// resolve answers for shop.test; other names do not exist.
func resolve(query []byte) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	h.Response, h.RecursionAvailable = true, true
	if !strings.EqualFold(q.Name.String(), "shop.test.") {
		h.RCode = dnsmessage.RCodeNameError
	}
	b := dnsmessage.NewBuilder(nil, h)
	b.StartQuestions()
	b.Question(q)
	b.StartAnswers()
	if rh := (dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}); h.RCode == 0 {
		switch q.Type {
		case dnsmessage.TypeA:
			b.AResource(rh, dnsmessage.AResource{A: netip.MustParseAddr(worldV4).As4()})
		case dnsmessage.TypeAAAA:
			b.AAAAResource(rh, dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(worldV6).As16()})
		}
	}
	answer, _ := b.Finish()
	return answer
}

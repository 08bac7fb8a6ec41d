package intercept_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/speedscale/speedscale/agents/intercept"
)

// eager writes without waiting for the reader, as sockets do.
type eager struct {
	net.Conn
	written chan []byte
}

func newEager(c net.Conn) eager {
	e := eager{c, make(chan []byte, 64)}
	go func() {
		for b := range e.written {
			c.Write(b)
		}
	}()
	return e
}

func (e eager) Write(b []byte) (int, error) {
	e.written <- bytes.Clone(b)
	return len(b), nil
}

// inMemory connects a client to a host through an interceptor, without sockets, and
// returns what the client's handshake and the interceptor said.
func inMemory(i *intercept.Interceptor, host, client *tls.Config) (intercept.Result, error) {
	var wg sync.WaitGroup
	defer wg.Wait()
	near, other := net.Pipe()
	defer near.Close()
	far := newEager(other)
	defer close(far.written)
	defer far.Close()
	answered := make(chan error, 1)
	wg.Go(func() {
		tc := tls.Client(near, client)
		err := tc.Handshake()
		answered <- err
		if err == nil {
			go tc.Write([]byte("x"))
			io.Copy(io.Discard, tc)
		}
	})
	res, err := i.Outbound(context.Background(), far, nil, func(context.Context) (net.Conn, error) {
		a, b := net.Pipe()
		wg.Go(func() {
			tc := tls.Server(b, host)
			tc.Handshake()
			io.Copy(io.Discard, tc)
			b.Close()
		})
		return a, nil
	}, "localhost:443")
	if err == nil {
		defer res.ServerConn.Close()
		if !res.Opaque {
			err = <-answered
			res.ClientConn.Read(make([]byte, 1))
			res.ClientConn.Close()
		}
	}
	return res, err
}

// TestPinnedClientFailsEveryTenMinutes: a client that pins was tried again, and so failed,
// every ten minutes, for as long as it ran.
func TestPinnedClientFailsEveryTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world := newAuthority(t, "World CA")
		host := &tls.Config{Certificates: []tls.Certificate{world.issue("localhost")}}
		ca, trust := newCA(t)
		i := newInterceptor(t, intercept.Options{CA: ca, UpstreamCA: []string{world.file}})
		connect := func(roots *x509.CertPool) error {
			_, err := inMemory(i, host, &tls.Config{RootCAs: roots, ServerName: "localhost"})
			return err
		}
		failures := func(d time.Duration) (after []time.Duration) {
			start := time.Now()
			for ; time.Since(start) < d; time.Sleep(time.Minute) {
				if connect(world.pool) != nil {
					after = append(after, time.Since(start).Truncate(time.Minute))
				}
			}
			return after
		}
		want := []time.Duration{0, 10 * time.Minute, 30 * time.Minute, 70 * time.Minute, 150 * time.Minute}
		if got := failures(5 * time.Hour); !slices.Equal(got, want) {
			t.Errorf("it failed after %v, want %v", got, want)
		}
		// Once it has taken a leaf, it is a client like any other.
		for time.Sleep(time.Hour); connect(trust) != nil; time.Sleep(time.Hour) {
		}
		want = want[:2]
		if got := failures(15 * time.Minute); !slices.Equal(got, want) {
			t.Errorf("after it took a leaf it failed after %v, want %v", got, want)
		}
		// No wait is longer than a day.
		time.Sleep(24 * time.Hour)
		for range 12 {
			if connect(world.pool) == nil {
				t.Error("it is not tried once a day")
			}
			time.Sleep(24 * time.Hour)
		}
	})
}

package nonblock_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/speedscale/speedscale/agents/nonblock"
)

// pair returns both ends of a TCP connection.
func pair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

func TestConn(t *testing.T) {
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		client, server := pair(t)
		return nonblock.Wrap(client), nonblock.Wrap(server), func() { client.Close(); server.Close() }, nil
	})
}

// TestSlowReader: what the socket does not take at once is written when it does.
func TestSlowReader(t *testing.T) {
	client, server := pair(t)
	sent := make([]byte, 16<<20)
	rand.Read(sent)
	w, err := nonblock.NewWriter(client.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() {
		n, err := w.Write(sent)
		if err == nil && n != len(sent) {
			err = io.ErrShortWrite
		}
		client.Close()
		wrote <- err
	}()
	select {
	case err := <-wrote:
		t.Fatalf("all was written while nobody read: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	got, err := io.ReadAll(nonblock.Wrap(server))
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes arrived of %d, %v", len(got), len(sent), err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

// TestErrors: callers tell errors apart as they do with package net.
func TestErrors(t *testing.T) {
	t.Run("reset", func(t *testing.T) {
		client, server := pair(t)
		client.(*net.TCPConn).SetLinger(0)
		client.Close()
		if _, err := nonblock.Wrap(server).Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v", err)
		}
		if _, err := nonblock.Wrap(server).Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		client, _ := pair(t)
		client.SetDeadline(time.Now().Add(10 * time.Millisecond))
		var timeout net.Error
		if _, err := nonblock.Wrap(client).Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("got %v", err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		client, _ := pair(t)
		client.Close()
		if _, err := nonblock.Wrap(client).Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

func TestNothingIsAllocated(t *testing.T) {
	client, server := pair(t)
	c, s := nonblock.Wrap(client), nonblock.Wrap(server)
	b := make([]byte, 64)
	if n := testing.AllocsPerRun(1000, func() {
		c.Write(b)
		s.Read(b)
	}); n > 0 {
		t.Errorf("%v allocations for a write and a read", n)
	}
}

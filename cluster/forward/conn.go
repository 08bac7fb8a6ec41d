package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/streaming/pkg/httpstream"
)

// carrier is a connection to a pod that carries others, each in a pair of streams:
// one for its bytes, one for what went wrong at the other end.
type carrier struct {
	stream httpstream.Connection
	pod    string
	port   int32
	// requests numbers the pairs.
	requests int
}

func (c *carrier) lost() bool {
	select {
	case <-c.stream.CloseChan():
		return true
	default:
		return false
	}
}

// create makes a stream. The library waits 30 s for the other end, also of a connection
// that is lost meanwhile: what is made after the limit is closed with the connection.
func (c *carrier) create(ctx context.Context, header http.Header) (httpstream.Stream, error) {
	type result struct {
		stream httpstream.Stream
		err    error
	}
	done := make(chan result, 1)
	header = header.Clone()
	go func() {
		s, err := c.stream.CreateStream(header)
		done <- result{s, err}
	}()
	err := errors.New("the connection was lost")
	select {
	case r := <-done:
		if r.err == nil {
			return r.stream, nil
		}
		err = r.err
	case <-c.stream.CloseChan():
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, fmt.Errorf("port-forward to pod %q: %w", c.pod, err)
}

// dial opens a connection, within the context's limit. Two goroutines move its bytes, in wg, until one of its
// ends closes it; released is called then.
func (c *carrier) dial(ctx context.Context, wg *sync.WaitGroup, released func(*conn)) (*conn, error) {
	header := http.Header{}
	header.Set(corev1.PortHeader, strconv.Itoa(int(c.port)))
	header.Set(corev1.PortForwardRequestIDHeader, strconv.Itoa(c.requests))
	c.requests++
	header.Set(corev1.StreamType, corev1.StreamTypeError)
	failure, err := c.create(ctx, header)
	if err != nil {
		return nil, err
	}
	failure.Close() // nothing is written to it
	header.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := c.create(ctx, header)
	if err != nil {
		c.stream.RemoveStreams(failure)
		return nil, err
	}
	ours, theirs := net.Pipe()
	made := &conn{Conn: ours, failed: make(chan struct{})}
	wg.Go(func() { made.readFailure(c, failure) })
	wg.Go(func() {
		// The other end hears that no more comes; what it still sends is read on.
		io.Copy(data, theirs)
		data.Close()
	})
	wg.Go(func() {
		io.Copy(theirs, data)
		// Unread bytes of this stream would hold up the others.
		data.Reset()
		<-made.failed
		theirs.Close()
		c.stream.RemoveStreams(failure, data)
		released(made)
	})
	made.end = sync.OnceFunc(func() { data.Reset(); failure.Reset() })
	return made, nil
}

// conn is one end of a pipe, which gives it deadlines; its other end is copied to
// and from the streams.
type conn struct {
	net.Conn
	end func()

	failed  chan struct{} // closed when failure is known
	failure error
}

// mostFailure is how much of what went wrong is kept, in bytes.
const mostFailure = 1 << 10

func (c *conn) readFailure(from *carrier, s httpstream.Stream) {
	defer close(c.failed)
	text, _ := io.ReadAll(io.LimitReader(s, mostFailure)) // its end says nothing
	if len(text) > 0 {
		c.failure = fmt.Errorf("port %d of pod %q: %s", from.port, from.pod, strings.TrimSpace(string(text)))
	}
}

// Read returns, at the end, what went wrong at the other end.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		<-c.failed
		if c.failure != nil {
			err = c.failure
		}
	}
	return n, err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.end()
	return err
}

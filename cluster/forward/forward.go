// Package forward reaches a Service of a cluster from outside of it, as kubectl
// port-forward does: by the API server, to one of the Service's ready pods, and with
// no port on this machine unless one is asked for.
package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

const (
	// dialLimit bounds the way to the API server, and from it to the pod.
	dialLimit = 15 * time.Second
	// mostConnections is how many connections one Forward carries at a time; another
	// one waits for its turn.
	mostConnections = 64
)

// Options say which Service.
type Options struct {
	// Config is the way to the API server, and Client speaks to it.
	Config *rest.Config
	Client kubernetes.Interface
	// Namespace and Service name it.
	Namespace, Service string
}

// Forward is a way to a Service. Its connections share one connection to the API
// server, which is made anew, to a pod that is ready then, when it was lost. It is
// safe for concurrent use.
type Forward struct {
	o     Options
	slots chan struct{}
	// dialing is held by who makes a connection, so that it can be waited for within a limit.
	dialing chan struct{}
	wg      sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	carrier  *carrier
	open     map[*conn]struct{}
	listener net.Listener
}

// New returns a way to a Service. Nothing is sent before the first connection. The
// caller closes it.
func New(o Options) *Forward {
	config := rest.CopyConfig(o.Config)
	if config.Dial == nil {
		config.Dial = (&net.Dialer{Timeout: dialLimit}).DialContext
	}
	o.Config = config
	return &Forward{o: o, slots: make(chan struct{}, mostConnections), dialing: make(chan struct{}, 1), open: map[*conn]struct{}{}}
}

// DialContext opens a connection to the Service, whatever network and address say:
// it has the form of net.Dialer's. An error names the Service or the pod.
func (f *Forward) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	select {
	case f.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, f.explain(fmt.Errorf("%d connections are open already: %w", mostConnections, ctx.Err()))
	}
	c, err := f.dial(ctx)
	if err != nil {
		<-f.slots
		return nil, f.explain(err)
	}
	return c, nil
}

func (f *Forward) explain(err error) error {
	return fmt.Errorf("service %q in namespace %q: %w", f.o.Service, f.o.Namespace, err)
}

func (f *Forward) dial(ctx context.Context) (net.Conn, error) {
	select {
	case f.dialing <- struct{}{}:
		defer func() { <-f.dialing }()
	case <-ctx.Done():
		return nil, fmt.Errorf("another connection is being made: %w", ctx.Err())
	}
	way, err := f.way(ctx)
	if err != nil {
		return nil, err
	}
	c, err := way.dial(ctx, &f.wg, f.release)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err != nil:
		way.stream.Close()
		f.carrier = nil
		return nil, err
	case f.closed:
		c.Close()
		return nil, net.ErrClosed
	}
	f.open[c] = struct{}{}
	return c, nil
}

// way returns the connection to a pod, made anew where it was lost. It is for who holds
// dialing.
func (f *Forward) way(ctx context.Context) (*carrier, error) {
	f.mu.Lock()
	way, closed := f.carrier, f.closed
	f.mu.Unlock()
	if closed {
		return nil, net.ErrClosed
	}
	if way != nil && !way.lost() {
		return way, nil
	}
	way, err := f.connect(ctx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		way.stream.Close()
		return nil, net.ErrClosed
	}
	f.carrier = way
	return way, nil
}

func (f *Forward) release(c *conn) {
	f.mu.Lock()
	delete(f.open, c)
	f.mu.Unlock()
	<-f.slots
}

// Close ends all connections.
func (f *Forward) Close() error {
	f.mu.Lock()
	f.closed = true
	var err error
	if f.listener != nil {
		err = f.listener.Close()
	}
	var open []*conn
	for c := range f.open {
		open = append(open, c)
	}
	if f.carrier != nil {
		err = errors.Join(err, f.carrier.stream.Close())
	}
	f.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
	f.dialing <- struct{}{} // whoever is about to add to wg has done so, or sees that it is closed
	<-f.dialing
	f.wg.Wait()
	return err
}

// connect reaches a ready pod of the Service.
func (f *Forward) connect(ctx context.Context) (*carrier, error) {
	core := f.o.Client.CoreV1()
	service, err := core.Services(f.o.Namespace).Get(ctx, f.o.Service, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	pods, err := core.Pods(f.o.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.Set(service.Spec.Selector).String()})
	if err != nil {
		return nil, err
	}
	pod, port, err := target(service, pods.Items)
	if err != nil {
		return nil, err
	}
	stream, err := f.upgrade(ctx, pod)
	if err != nil {
		return nil, fmt.Errorf("port-forward to pod %q: %w", pod, err)
	}
	return &carrier{stream: stream, pod: pod, port: port}, nil
}

// upgrade asks the API server for a connection to a pod: over a WebSocket and, where
// it or a proxy on the way does not know that, over SPDY.
func (f *Forward) upgrade(ctx context.Context, pod string) (httpstream.Connection, error) {
	client, err := rest.HTTPClientFor(f.o.Config)
	if err != nil {
		return nil, err
	}
	core, err := rest.UnversionedRESTClientForConfigAndClient(withCodec(f.o.Config), client)
	if err != nil {
		return nil, err
	}
	url := core.Post().AbsPath("/api/v1").Namespace(f.o.Namespace).Resource("pods").Name(pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(f.o.Config)
	if err != nil {
		return nil, err
	}
	bySPDY := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport, Timeout: dialLimit}, http.MethodPost, url)
	byWebSocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, f.o.Config)
	if err != nil {
		return nil, err
	}
	dialer := portforward.NewFallbackDialerForStreaming(byWebSocket, bySPDY, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	return within(ctx, func() (httpstream.Connection, error) {
		c, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
		return c, err
	})
}

// within does not wait for a dialer, which knows no context, beyond the limit. Its
// own limits end it soon after.
func within(ctx context.Context, dial func() (httpstream.Connection, error)) (httpstream.Connection, error) {
	type result struct {
		conn httpstream.Connection
		err  error
	}
	done := make(chan result, 1)
	go func() {
		c, err := dial()
		if ctx.Err() != nil && c != nil {
			c.Close()
		}
		done <- result{c, err}
	}()
	select {
	case r := <-done:
		return r.conn, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

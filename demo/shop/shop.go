// Package shop is the small application that speedctl demo captures and replays:
// an orders service (HTTP) that depends on payments (HTTPS, JSON) and inventory
// (gRPC over TLS), and the shoppers who use it. It knows nothing of Speedscale;
// its dependencies are reached by name through the usual proxy variables.
package shop

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Names and ports by which the orders service reaches its dependencies.
const (
	PaymentsHost  = "payments.shop.test"
	InventoryHost = "inventory.shop.test"
	DependencyTLS = "443"
)

// Versions of the orders service. V2 has a regression planted in it.
const (
	V1 = "v1"
	V2 = "v2"
)

// ServeOrders answers for the orders service on l until ctx is done.
func ServeOrders(ctx context.Context, l net.Listener, version string) error {
	if version != V1 && version != V2 {
		return fmt.Errorf("version %q: want %s or %s", version, V1, V2)
	}
	o, err := newOrders(version)
	if err != nil {
		return err
	}
	defer o.close()
	return serve(ctx, l, o.handler())
}

// Dependencies are the payments and inventory services, on loopback.
type Dependencies struct {
	payments, inventory net.Listener
	rpc                 *grpc.Server
	web                 *http.Server
}

// StartDependencies starts both, with certificates of ca.
func StartDependencies(ca *CA) (*Dependencies, error) {
	payCert, err := ca.Issue(PaymentsHost)
	if err != nil {
		return nil, err
	}
	invCert, err := ca.Issue(InventoryHost)
	if err != nil {
		return nil, err
	}
	d := &Dependencies{}
	if d.payments, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if d.inventory, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		d.payments.Close()
		return nil, err
	}
	d.web = &http.Server{
		Handler:           paymentsHandler(),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{payCert}},
		ReadHeaderTimeout: 10 * time.Second,
		// Connections that clients give up are no news.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	d.rpc = grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&invCert)))
	RegisterInventoryServer(d.rpc, inventory{})
	go d.web.ServeTLS(d.payments, "", "") // ends with Close
	go d.rpc.Serve(d.inventory)           // ends with Close
	return d, nil
}

// Aliases maps each dependency's host:port to where it listens.
func (d *Dependencies) Aliases() map[string]string {
	return map[string]string{
		net.JoinHostPort(PaymentsHost, DependencyTLS):  d.payments.Addr().String(),
		net.JoinHostPort(InventoryHost, DependencyTLS): d.inventory.Addr().String(),
	}
}

// Close stops both and ends their connections.
func (d *Dependencies) Close() error {
	d.rpc.Stop()
	return d.web.Close()
}

func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() {
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		s.Shutdown(limit)
	})
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

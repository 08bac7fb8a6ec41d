package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/auth"
	"github.com/speedscale/speedscale/cloud/ingest"
)

// storeLimit bounds JetStream beyond any disk: ingest bounds the stream by what
// is free, which nats-server knows at its start only.
const storeLimit = 1 << 50

// storeReserve is what must be free for a store that failed to be opened anew.
const storeReserve = 8 << 20

func (s *Server) openBus(ctx context.Context, dir string) error {
	var err error
	s.broker, err = broker.Start(broker.Options{
		Name:      "speedscale-cloud",
		Listen:    s.o.BusListen,
		TLS:       s.o.TLS,
		WebSocket: "127.0.0.1:0", // behind the API's listener, which ends TLS
		Store:     &broker.StoreOptions{Dir: dir, MaxBytes: storeLimit, Reserve: storeReserve, SyncAlways: s.o.SyncAlways},
		// Anyone without a key, or without a scope for the bus, is refused.
		Authenticate: s.keyring.Bus,
		Logger:       s.log,
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		return s.broker.Shutdown(ctx)
	})
	o := s.o.Ingest
	o.Broker, o.Catalog, o.Archive, o.StoreDir, o.Logger = s.broker, s.catalog, s.archive, dir, s.log
	if s.ingest, err = ingest.Open(ctx, o); err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { s.ingest.Close(); return nil })
	return nil
}

// disconnect ends the bus connections of a key that was revoked.
func (s *Server) disconnect(keyID string) {
	n, err := s.broker.Disconnect(auth.BusName(keyID))
	if err != nil {
		s.log.Error("the bus connections of a revoked key cannot be ended", "key", keyID, "error", err)
		return
	}
	s.log.Info("bus connections of a revoked key ended", "key", keyID, "connections", n)
}

// answerMasking answers the bus subject control.masking.
func (s *Server) answerMasking(ctx context.Context) (*nats.Conn, error) {
	nc, err := s.broker.Connect(ctx, bus.ConnectOptions{Name: "masking", Logger: s.log})
	if err != nil {
		return nil, err
	}
	_, err = nc.Subscribe(bus.ControlMasking, func(m *nats.Msg) {
		answer := nats.NewMsg(m.Reply)
		masking, err := s.masking(ctx, m.Data)
		if err == nil {
			answer.Data, err = proto.Marshal(masking)
		}
		if err != nil {
			s.log.Warn("a request for the masking rules cannot be answered", "error", err)
			answer.Header.Set(bus.HeaderError, err.Error())
		}
		if err := m.RespondMsg(answer); err != nil {
			s.log.Warn("the answer with the masking rules cannot be sent", "error", err)
		}
	})
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("subscribe to %s: %w", bus.ControlMasking, err)
	}
	return nc, nil
}

// masking answers a GetMaskingRequest; no bytes are an empty one.
func (s *Server) masking(ctx context.Context, request []byte) (*cloudv1.Masking, error) {
	var r cloudv1.GetMaskingRequest
	if err := proto.Unmarshal(request, &r); err != nil {
		return nil, errors.New("not a GetMaskingRequest")
	}
	return s.api.Masking(ctx, r.GetKeyId())
}

// BusURL is where agents reach the bus: its own listener, or without one the
// API's, by WebSocket.
func (s *Server) BusURL() string {
	if u := s.broker.ClientURL(); u != "" {
		return u
	}
	scheme := "ws"
	if s.o.TLS != nil {
		scheme = "wss"
	}
	return scheme + "://" + s.listener.Addr().String()
}

// BusConn connects to the bus within the process, with every right.
func (s *Server) BusConn(ctx context.Context, name string) (*nats.Conn, error) {
	return s.broker.Connect(ctx, bus.ConnectOptions{Name: name, Logger: s.log})
}

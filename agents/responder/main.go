package responder

import (
	"context"
	"errors"
	"net"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/replay"
)

// errLoading is what /readyz says until requests are answered.
var errLoading = errors.New("the recorded responses are not loaded yet")

// Main is the binary: it answers until it is told to end.
func Main(ctx context.Context, env *agent.Env) error {
	s, err := ReadSettings(env.Vars)
	if err != nil {
		return err
	}
	s.Logger = env.Log
	registry := replay.NewRegistry()
	var listening atomic.Bool
	ready := func() error {
		if !listening.Load() {
			return errLoading
		}
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	if err := s.Serve(ctx, g, registry, agent.Checks{Ready: ready}); err != nil {
		return err
	}
	started := func(*Responder) { listening.Store(true) }
	g.Go(func() error {
		if s.Cloud == nil {
			return s.answer(ctx, registry, started)
		}
		m, err := s.Cloud.Join(registry, env.Log)
		if err != nil {
			return err
		}
		defer m.Close()
		return s.member(ctx, m, registry, started)
	})
	return g.Wait()
}

// answer loads the recorded pairs, says so, and answers until the context ends.
func (s *Settings) answer(ctx context.Context, registry prometheus.Registerer, started func(*Responder)) error {
	s.Registry, s.Reactions, s.Options.Masker = registry, s.Snapshot.Reactions(), s.Settings.Masker
	if s.RecordFile != "" {
		file, err := newPairFile(s.RecordFile)
		if err != nil {
			return err
		}
		defer func() {
			if err := file.close(); err != nil {
				s.Logger.Error("recorded pairs not written", "file", s.RecordFile, "error", err)
			}
		}()
		s.Recorder = file
	}
	r, err := New(s.Options)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return err
	}
	loaded := r.Loaded()
	s.Logger.Info("responder runs", "listen", l.Addr().String(), "slices", r.Keys(), "pairs", loaded.Pairs,
		"signatures", loaded.Signatures, "unreadable", loaded.Unreadable, "unusable", loaded.Unusable, "keyMissing", s.KeyMissing)
	started(r)
	err = r.Serve(ctx, l)
	n := r.counts()
	s.Logger.Info("responder ended", "requests", n.requests(), "matched", n.matched, "missed", n.missed, "passthrough", n.passed)
	return err
}

package responder

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/replay"
	"github.com/speedscale/speedscale/traffic"
)

// Settings are what the binary reads from its environment.
type Settings struct {
	replay.Settings
	Options
	// Listen is host:port.
	Listen string
	// RecordFile is where misses are recorded, one pair on a line.
	RecordFile string
}

// ReadSettings reads everything that the binary is told beside what
// replay.ReadSettings reads, and nothing else reads the environment. An error
// names each variable that is wrong.
//
//	RESPONDER_LISTEN       :8080
//	RESPONDER_PROXY        optional (the default), required or none: PROXY headers
//	RESPONDER_ON_MISS      404 (the default), passthrough or record
//	RESPONDER_RECORD_FILE  where pairs are recorded
//	RESPONDER_LATENCY      none (the default), recorded, a multiple such as 2x, or a duration
//	RESPONDER_TLS_CERT, RESPONDER_TLS_KEY  PEM files; without them TLS is refused
func ReadSettings(v *agent.Vars) (*Settings, error) {
	s := &Settings{
		Settings:   replay.ReadSettings(v),
		Listen:     v.Address("RESPONDER_LISTEN", ":8080"),
		RecordFile: v.String("RESPONDER_RECORD_FILE", ""),
		Options: Options{
			Proxy:   v.Choice("RESPONDER_PROXY", ProxyOptional, ProxyOptional, ProxyRequired, ProxyNone),
			OnMiss:  v.Choice("RESPONDER_ON_MISS", NotFound, NotFound, Passthrough, Record),
			Latency: readLatency(v),
		},
	}
	s.Options.Keys, s.Options.Masker = s.Settings.Keys, s.Settings.Masker
	s.Upstream.TLS = &tls.Config{RootCAs: s.Roots}
	if s.OnMiss == Record && s.RecordFile == "" {
		v.Missing("RESPONDER_RECORD_FILE", "RESPONDER_ON_MISS=record needs a place for pairs")
	}
	cert, key := v.String("RESPONDER_TLS_CERT", ""), v.String("RESPONDER_TLS_KEY", "")
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			v.Fail("RESPONDER_TLS_CERT", cert, err.Error())
		}
		s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	return s, v.Err()
}

func readLatency(v *agent.Vars) Latency {
	const name = "RESPONDER_LATENCY"
	switch text := v.String(name, "none"); text {
	case "none":
		return Latency{}
	case "recorded":
		return Latency{Multiple: 1}
	default:
		if multiple, ok := strings.CutSuffix(text, "x"); ok {
			if f, err := strconv.ParseFloat(multiple, 64); err == nil && f >= 0 && f <= 1000 {
				return Latency{Multiple: f}
			}
		} else if d, err := time.ParseDuration(text); err == nil && d >= 0 {
			return Latency{Fixed: d}
		}
		v.Fail(name, text, "want none, recorded, a multiple such as 2x, or a duration such as 50ms")
		return Latency{}
	}
}

// Main is the binary: it answers until it is told to end.
func Main(ctx context.Context, env *agent.Env) error {
	s, err := ReadSettings(env.Vars)
	if err != nil {
		return err
	}
	registry := replay.NewRegistry()
	s.Logger, s.Registry, s.Reactions = env.Log, registry, s.Snapshot.Reactions()
	if s.RecordFile != "" {
		file, err := newPairFile(s.RecordFile)
		if err != nil {
			return err
		}
		defer func() {
			if err := file.close(); err != nil {
				env.Log.Error("recorded pairs not written", "file", s.RecordFile, "error", err)
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
	g, ctx := errgroup.WithContext(ctx)
	if err := s.Serve(ctx, g, registry); err != nil {
		return errors.Join(err, l.Close())
	}
	g.Go(func() error { return r.Serve(ctx, l) })
	loaded := r.Loaded()
	env.Log.Info("responder runs", "listen", l.Addr().String(), "slices", r.Keys(), "pairs", loaded.Pairs,
		"signatures", loaded.Signatures, "unreadable", loaded.Unreadable, "unusable", loaded.Unusable, "keyMissing", s.KeyMissing)
	err = g.Wait()
	stats := r.Stats()
	env.Log.Info("responder ended", "requests", stats.Requests, "matched", stats.Matched, "missed", stats.Missed, "passthrough", stats.Passthrough)
	return err
}

// pairFile is a Recorder that writes one pair on a line, as in raw.jsonl.
type pairFile struct {
	mu   sync.Mutex
	file *os.File
	buf  *bufio.Writer
	err  error // the first one
}

func newPairFile(name string) (*pairFile, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &pairFile{file: f, buf: bufio.NewWriter(f)}, nil
}

// Pair appends a pair.
func (f *pairFile) Pair(p *traffic.RRPair) {
	line, err := json.Marshal(p)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		_, err = f.buf.Write(append(line, '\n'))
	}
	if f.err == nil {
		f.err = err
	}
}

func (f *pairFile) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.err, f.buf.Flush(), f.file.Close())
}

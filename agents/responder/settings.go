package responder

import (
	"crypto/tls"
	"strconv"
	"strings"
	"time"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/replay"
	"github.com/speedscale/speedscale/traffic/testconfig"
	"github.com/speedscale/speedscale/traffic/transform"
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
//
// TEST_CONFIG takes the place of RESPONDER_ON_MISS and RESPONDER_LATENCY.
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
	s.Options.Keys = s.Settings.Keys
	if s.Config != nil {
		s.configure(v, *s.Config)
	}
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

// configure has a test config decide how fast answers are, and what misses get.
func (s *Settings) configure(v *agent.Vars, c testconfig.Config) {
	for _, name := range []string{"RESPONDER_ON_MISS", "RESPONDER_LATENCY"} {
		if text := v.String(name, ""); text != "" {
			v.Fail(name, text, "TEST_CONFIG says how requests are answered; want one of them")
		}
	}
	s.Latency = Latency(c.Latency())
	if c.Passthrough() {
		s.OnMiss = Passthrough
	}
	if t := c.Transforms(); t != nil {
		var err error
		if s.Transforms, err = t.ResponderSet(transform.Environment{Secrets: s.Secrets}); err != nil {
			v.Fail("TEST_CONFIG", "…", "transforms: "+err.Error())
		}
	}
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

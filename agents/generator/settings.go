package generator

import (
	"crypto/tls"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/replay"
	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/testconfig"
	"github.com/speedscale/speedscale/traffic/transform"
)

// maxGenerators bounds the generators of one replay.
const maxGenerators = 10_000

// Settings are what the binary reads from its environment.
type Settings struct {
	replay.Settings
	Options
	// Comparing says what of responses is compared.
	Comparing compare.Config
	// ReportFile is where the report goes, as JSON, of a replay that no cloud follows.
	ReportFile string
	// BuildTag is kept in the report.
	BuildTag string
	// Addresses are the pod's, where sidecars see the requests that come from them.
	Addresses []string
}

// ReadSettings reads everything that the binary is told beside what
// replay.ReadSettings reads, and nothing else reads the environment. An error
// names each variable that is wrong.
//
//	REPLAY_TARGET        where requests go, as ParseTarget reads it; as recorded without it
//	REPLAY_TARGETS       where the requests of a slice go: KEY=TARGET between commas; with
//	                     SNAPSHOT_ID, this or REPLAY_TARGET is needed
//	REPLAY_REWRITE_HOST  true names the target in Host
//	REPLAY_SPEED, REPLAY_RATE, REPLAY_STAGES, REPLAY_VUS  one of the models of Plan; stages are RATE:DURATION between commas
//	REPLAY_TIMES, REPLAY_FOR      how often, or for how long
//	REPLAY_UNORDERED     true sends each request at its time, whatever its session waits for
//	REPLAY_CARRY         true; false sends requests as they were recorded (Options.AsRecorded)
//	REPLAY_CONCURRENCY   256; REPLAY_TIMEOUT 10s
//	GENERATOR_INDEX, GENERATOR_COUNT  0 and 1: the generator's Share
//	REPORT_FILE          report.json; without SNAPSHOT_ID only
//	BUILD_TAG            kept in that report
//	STATUS_POD_IPS       the pod's addresses, where sidecars that take part in the replay
//	                     see its requests, and tell others' from them
//
// TEST_CONFIG takes the place of those from REPLAY_SPEED to REPLAY_FOR; its request
// timeout that of REPLAY_TIMEOUT, where it has one.
func ReadSettings(v *agent.Vars) (*Settings, error) {
	s := &Settings{
		Settings:   replay.ReadSettings(v),
		ReportFile: v.String("REPORT_FILE", "report.json"),
		BuildTag:   v.String("BUILD_TAG", ""),
		Addresses:  addresses(v, "STATUS_POD_IPS"),
		Options: Options{
			RewriteHost: v.Bool("REPLAY_REWRITE_HOST", false),
			Unordered:   v.Bool("REPLAY_UNORDERED", false),
			AsRecorded:  !v.Bool("REPLAY_CARRY", true),
			Concurrency: int(v.Int("REPLAY_CONCURRENCY", DefaultConcurrency, 1, MaxConcurrency)),
			Timeout:     v.Duration("REPLAY_TIMEOUT", DefaultTimeout),
			Plan: Plan{
				Speed:  number(v, "REPLAY_SPEED"),
				Rate:   number(v, "REPLAY_RATE"),
				Stages: stages(v, "REPLAY_STAGES"),
				VUs:    int(v.Int("REPLAY_VUS", 0, 1, MaxConcurrency)),
				Times:  int(v.Int("REPLAY_TIMES", 0, 1, 1<<40)),
				For:    v.Duration("REPLAY_FOR", 0),
			},
			Share: Share{Index: int(v.Int("GENERATOR_INDEX", 0, 0, maxGenerators-1)), Count: int(v.Int("GENERATOR_COUNT", 1, 1, maxGenerators))},
		},
	}
	s.Options.Keys = s.Settings.Keys
	s.TLS = &tls.Config{RootCAs: s.Roots}
	s.readTargets(v)
	if s.Config != nil {
		s.configure(v, *s.Config)
	}
	plan := s.Plan
	if err := plan.validate(); err != nil {
		v.Fail("REPLAY_SPEED, REPLAY_RATE, REPLAY_STAGES, REPLAY_VUS", "…", err.Error())
	}
	if err := s.Share.validate(); err != nil {
		v.Fail("GENERATOR_INDEX", strconv.Itoa(s.Share.Index), err.Error())
	}
	return s, v.Err()
}

func (s *Settings) readTargets(v *agent.Vars) {
	parse := func(name, text string) *url.URL {
		u, err := ParseTarget(text)
		if err != nil {
			v.Fail(name, "…", err.Error())
		}
		return u
	}
	if text := v.String("REPLAY_TARGET", ""); text != "" {
		s.Target = parse("REPLAY_TARGET", text)
	}
	for key, text := range v.Pairs("REPLAY_TARGETS") {
		if s.Targets == nil {
			s.Targets = map[string]*url.URL{}
		}
		s.Targets[key] = parse("REPLAY_TARGETS", text)
	}
	switch {
	case s.Target != nil && s.Targets != nil:
		v.Fail("REPLAY_TARGET", s.Target.String(), "REPLAY_TARGETS is set too; want one of them")
	case s.Cloud != nil && s.Target == nil && s.Targets == nil:
		v.Missing("REPLAY_TARGETS", "without it requests would go to where they were recorded")
	}
}

// configure has a test config decide the load, and what is compared.
func (s *Settings) configure(v *agent.Vars, c testconfig.Config) {
	for _, name := range []string{"REPLAY_SPEED", "REPLAY_RATE", "REPLAY_STAGES", "REPLAY_VUS", "REPLAY_TIMES", "REPLAY_FOR"} {
		if text := v.String(name, ""); text != "" {
			v.Fail(name, text, "TEST_CONFIG says when requests are sent; want one of them")
		}
	}
	l := c.Load()
	s.Plan = Plan{Speed: l.Speed, Rate: l.Rate, VUs: l.Users, For: l.For}
	for _, stage := range l.Stages {
		s.Plan.Stages = append(s.Plan.Stages, Stage(stage))
	}
	if d := c.RequestTimeout(); d > 0 {
		s.Timeout = d
	}
	s.AsRecorded = s.AsRecorded || !c.CarriesValues()
	s.Comparing.Assertions = c.Assertions()
	if t := c.Transforms(); t != nil {
		var err error
		if s.Transforms, err = t.GeneratorSet(transform.Environment{Secrets: s.Secrets}); err != nil {
			v.Fail("TEST_CONFIG", "…", "transforms: "+err.Error())
		}
	}
}

// addresses are in the form that sidecars have them.
func addresses(v *agent.Vars, name string) (list []string) {
	for _, text := range v.List(name) {
		a, err := netip.ParseAddr(text)
		if err != nil {
			v.Fail(name, text, "want IP addresses")
			continue
		}
		list = append(list, a.Unmap().String())
	}
	return list
}

func number(v *agent.Vars, name string) float64 {
	text := v.String(name, "")
	if text == "" {
		return 0
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !positive(f) {
		v.Fail(name, text, "want a number above 0")
	}
	return f
}

func stages(v *agent.Vars, name string) []Stage {
	var list []Stage
	for _, text := range v.List(name) {
		rate, length, _ := strings.Cut(text, ":")
		f, err := strconv.ParseFloat(rate, 64)
		d, lengthErr := time.ParseDuration(length)
		if err != nil || lengthErr != nil {
			v.Fail(name, text, "want RATE:DURATION, such as 100:30s")
			continue
		}
		list = append(list, Stage{Rate: f, For: d})
	}
	return list
}

package testconfig

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/jsondoc"
	"github.com/speedscale/speedscale/traffic/transform"
)

// Bounds of what a config may ask for.
const (
	maxReplicas = 500
	maxUsers    = 10_000
	maxRate     = 1_000_000
	maxStages   = 100
	maxRules    = 100
	maxTimeout  = 3600 // seconds
	maxMultiple = 1000
	maxCounted  = 1e15
)

// Parse reads a test config. The error names every member that is wrong, or is not
// supported, by its path, and says what to do about it.
func Parse(doc []byte) (Config, error) {
	var f faults
	o, err := parse(doc, &f)
	if err != nil {
		return Config{}, err
	}
	var d document
	if d.ID = o.text("id"); !validID(d.ID) {
		f.add("id", "%q: want 1 to 64 letters, digits, - and _", d.ID)
	}
	switch v := o.integer("version", 0, 1000); v {
	case 0, version:
		d.Version = v
	default:
		f.add("version", "%d: want %d, or leave it out", v, version)
	}
	d.Protected = o.isSet("protected")
	d.Generator = readGenerator(o)
	d.AssertionGroups = readGroups(o)
	d.Rules = readRules(o)
	d.Responder = readResponder(o)
	d.Cluster = readCluster(o)
	d.Transforms = readTransforms(o)
	o.unsupported("loadGroups", "one load is run; give generator.stages")
	o.unsupported("goals", "give rules")
	o.unsupported("chaos", "faults are not injected")
	o.end("id", "version", "protected", "generator", "assertionGroups", "rules", "responder", "cluster", "transforms")
	if err := f.err(); err != nil {
		return Config{}, err
	}
	return Config{d}, nil
}

// validID says whether an id can stand in paths and commands.
func validID(id string) bool {
	return id != "" && len(id) <= 64 && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

func readGenerator(doc object) generator {
	o, _ := doc.object("generator")
	g := generator{NumReplicas: o.integer("numReplicas", 0, maxReplicas), CarryValues: o.flag("carryValues")}
	if s := o.number("requestTimeoutSeconds", 0, maxTimeout); s != nil {
		g.RequestTimeoutSeconds = *s
	}
	for _, s := range o.list("stages", maxStages) {
		g.Stages = append(g.Stages, readStage(s))
	}
	checkStages(o, g.Stages)
	o.unsupported("dlpConfigId", "responses are masked by the snapshot's own rules; leave it out")
	o.unsupported("evaluationIntervals", "goals are judged at the end; leave it out")
	o.unsupported("replicaDelay", "generators start together; leave it out")
	for _, old := range []string{"requestTiming", "flatRequestDelay", "runDuration"} {
		o.unsupported(old, "it is of an older form; give stages")
	}
	o.unsupported("lowData", "give an assertionGroup with httpStatusCode only")
	o.end("stages", "numReplicas", "requestTimeoutSeconds", "carryValues")
	return g
}

func readStage(o object) stage {
	s := stage{Duration: o.duration("duration"), RampFor: o.duration("rampFor")}
	if u, ok := o.object("virtualUsers"); ok && len(u.members) > 0 {
		s.VirtualUsers = &virtualUsers{u.integer("virtualUsers", 0, maxUsers)}
		u.unsupported("requestDelay", "virtual users send as fast as they are answered; leave it empty, or give arrivals")
		u.end("virtualUsers")
	}
	if a, ok := o.object("arrivals"); ok && len(a.members) > 0 {
		s.Arrivals = &arrivals{Rate: a.number("rate", 0, maxRate)}
		if m := a.number("recordedMultiple", 0, maxMultiple); m != nil {
			s.Arrivals.RecordedMultiple = *m
		}
		if unit := a.text("timeUnit"); unit != "" && unit != "1s" {
			a.f.add(a.pathOf("timeUnit"), "%q is not supported: rate is in requests a second", unit)
		}
		a.end("rate", "recordedMultiple")
	}
	switch {
	case (s.VirtualUsers == nil) == (s.Arrivals == nil):
		o.f.add(o.path, "want either virtualUsers or arrivals")
	case s.VirtualUsers != nil && s.VirtualUsers.VirtualUsers == 0:
		o.f.add(o.path+".virtualUsers.virtualUsers", "want 1 to %d", maxUsers)
	case s.Arrivals != nil && (s.Arrivals.Rate == nil) == (s.Arrivals.RecordedMultiple == 0):
		o.f.add(o.path+".arrivals", "want either rate (requests a second) or recordedMultiple (above 0)")
	case s.RampFor > s.Duration:
		o.f.add(o.path+".rampFor", "is longer than duration, which includes it")
	}
	o.end("duration", "rampFor", "virtualUsers", "arrivals")
	return s
}

// checkStages looks at what stages are together, where each is right by itself.
func checkStages(o object, stages []stage) {
	if len(o.f.list) > 0 || len(stages) == 0 {
		return
	}
	path := o.pathOf("stages")
	rates := func(s stage) bool { return s.Arrivals != nil && s.Arrivals.Rate != nil }
	switch {
	case !slices.ContainsFunc(stages, rates):
		if len(stages) > 1 || stages[0].RampFor > 0 {
			o.f.add(path, "virtualUsers and recordedMultiple stay as they are: give one stage without rampFor, or stages with arrivals.rate")
		}
		return
	case slices.ContainsFunc(stages, func(s stage) bool { return !rates(s) }):
		o.f.add(path, "arrivals.rate cannot be mixed with virtualUsers or recordedMultiple")
		return
	case len(stages) > 1 || stages[0].RampFor > 0:
		if i := slices.IndexFunc(stages, func(s stage) bool { return s.Duration == 0 }); i >= 0 {
			o.f.add(path, "stage %d has no duration", i+1)
			return
		}
	}
	if !slices.ContainsFunc(stages, func(s stage) bool { return *s.Arrivals.Rate > 0 }) {
		o.f.add(path, "no rate is above 0, so nothing would be sent")
	}
}

func readGroups(doc object) []group {
	var groups []group
	asserted := map[string]bool{}
	for _, o := range doc.list("assertionGroups", maxRules) {
		var g group
		for _, c := range o.list("configs", maxRules) {
			a := readAssertion(c)
			if asserted[a.Type] {
				c.f.add(c.path+".type", "%s is asserted twice; put both into one", a.Type)
			}
			asserted[a.Type] = true
			g.Configs = append(g.Configs, a)
		}
		for _, name := range []string{"filter", "filters"} {
			o.unsupported(name, "assertions hold for every response; leave it out")
		}
		o.end("configs")
		if len(g.Configs) > 0 {
			groups = append(groups, g)
		}
	}
	return groups
}

func readAssertion(o object) assertion {
	a := assertion{Type: o.text("type")}
	known := []string{compare.AssertStatusCode, compare.AssertHeaders, compare.AssertBody, compare.AssertContentType, compare.AssertCookies}
	if !slices.Contains(known, a.Type) {
		o.f.add(o.path+".type", "%q is not supported: use %s", a.Type, strings.Join(known, ", "))
		return a
	}
	c, _ := o.object("config")
	switch a.Type {
	case compare.AssertHeaders:
		a.Config.Headers = c.texts("headers")
		c.end("headers")
	case compare.AssertBody:
		a.Config = assertionConfig{Ignore: paths(c, "ignore"), IncludeOnly: paths(c, "includeOnly"), AllowNew: c.flag("allowNew")}
		c.unsupported("matchAll", "leave it out")
		c.unsupported("matchType", "values are compared as they are; leave it out")
		c.end("ignore", "includeOnly", "allowNew")
	default:
		c.end("nothing")
	}
	o.end("type", "config")
	return a
}

func paths(o object, name string) []string {
	list := o.texts(name)
	if _, err := jsondoc.ParsePaths(list); err != nil {
		o.f.add(o.pathOf(name), "%v", err)
	}
	return list
}

func readResponder(doc object) responder {
	o, _ := doc.object("responder")
	r := responder{PassthroughMode: o.isSet("passthroughMode")}
	if o.integer("numReplicas", 0, 1_000_000) > 1 {
		o.f.add(o.pathOf("numReplicas"), "is not supported: one responder answers, so that recorded answers keep their order; set it to 1")
	}
	if d, ok := o.object("responseDelay"); ok {
		r.ResponseDelay = readDelay(d)
	}
	o.unsupported("withReport", "set needsReport in the TrafficReplay")
	o.unsupported("dlpConfigId", "requests are masked by the snapshot's own rules; leave it out")
	o.unsupported("lowData", "the responder records nothing anyway; leave it out")
	o.end("numReplicas", "responseDelay", "passthroughMode")
	return r
}

func readDelay(o object) responseDelay {
	d := responseDelay{Mode: strings.ToUpper(o.text("mode")), Delay: o.duration("delay")}
	if m := o.number("multiple", 0, maxMultiple); m != nil {
		d.Multiple = *m
	}
	switch d.Mode {
	case "":
		d.Mode = delayNone
	case delayNone, delayRecorded, delayMultiple, delayConstant:
	default:
		o.f.add(o.pathOf("mode"), "%q: want %s, %s, %s (with multiple) or %s (with delay)", d.Mode, delayNone, delayRecorded, delayMultiple, delayConstant)
	}
	if (d.Mode == delayMultiple) != (d.Multiple > 0) {
		o.f.add(o.pathOf("multiple"), "goes with mode %s, and is above 0", delayMultiple)
	}
	if (d.Mode == delayConstant) != (d.Delay > 0) {
		o.f.add(o.pathOf("delay"), "goes with mode %s, and is above 0", delayConstant)
	}
	o.end("mode", "multiple", "delay")
	return d
}

func readCluster(doc object) cluster {
	o, _ := doc.object("cluster")
	c := cluster{
		LogLevel:           o.text("logLevel"),
		LogsCollected:      o.isSet("logsCollected"),
		GeneratorResources: readResources(o, "generatorResources"),
		ResponderResources: readResources(o, "responderResources"),
	}
	if c.LogLevel != "" && !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		o.f.add(o.pathOf("logLevel"), "%q: want debug, info, warn or error", c.LogLevel)
	}
	o.unsupported("cleanup", "set cleanup in the TrafficReplay")
	o.unsupported("replayMode", "set mode in the TrafficReplay")
	o.unsupported("sidecarTlsOut", "set the annotation sidecar.speedscale.com/tls-out on the workload")
	o.end("logLevel", "logsCollected", "generatorResources", "responderResources")
	return c
}

// readTransforms hands the member on as it was written: package transform reads it.
func readTransforms(doc object) *transform.Config {
	v, path := doc.take("transforms")
	if empty(v) {
		return nil
	}
	text, err := json.Marshal(written(v))
	if err != nil {
		doc.f.add(path, "%v", err)
		return nil
	}
	c, err := transform.Parse(text)
	if err != nil {
		doc.f.add(path, "%v", err)
	}
	return c
}

// written has the names of members as they were written.
func written(v any) any {
	switch v := v.(type) {
	case map[string]member:
		all := make(map[string]any, len(v))
		for _, m := range v {
			all[m.name] = written(m.value)
		}
		return all
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = written(e)
		}
		return list
	}
	return v
}

func readResources(cluster object, name string) Resources {
	o, _ := cluster.object(name)
	r := Resources{Limits: quantities(o, "limits"), Requests: quantities(o, "requests")}
	o.end("limits", "requests")
	return r
}

func quantities(resources object, name string) map[string]string {
	o, _ := resources.object(name)
	var all map[string]string
	for _, resource := range []string{"cpu", "memory"} {
		text := o.text(resource)
		if text == "" {
			continue
		}
		if !quantity().MatchString(text) {
			o.f.add(o.pathOf(resource), "%q: want a quantity such as 500m or 256Mi", text)
		}
		if all == nil {
			all = map[string]string{}
		}
		all[resource] = text
	}
	o.end("cpu", "memory")
	return all
}

// quantity is what Kubernetes takes for an amount above 0 (resource.Quantity),
// without its exponents.
func quantity() *regexp.Regexp {
	return regexp.MustCompile(`^(0*[1-9][0-9]{0,17}|0*[0-9]{1,18}\.[0-9]{1,9})(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$`)
}

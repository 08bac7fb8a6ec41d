// Package transform rewrites what changes between a recording and its replay: a
// token that is signed anew, a date, an id that the test environment knows. What is
// rewritten, and how, stands in the transforms of a test config, with the names of
// the product's documentation.
//
// A chain takes a value out of a request or response (its extractor), leads it
// through its transforms, and puts it back through them in reverse: base64, json_path
// and constant change a member of a JSON document in base64, and leave the rest of
// it as it was. A chain applies to pairs that its filters match.
package transform

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
)

// Bounds of a document.
const (
	maxChains = 200
	maxSteps  = 50
)

// Config is the transforms of a test config.
type Config struct {
	Generator          []Chain    `json:"generator,omitempty"`
	GeneratorVariables []Variable `json:"generatorVariables,omitempty"`
	Responder          []Chain    `json:"responder,omitempty"`
	ResponderVariables []Variable `json:"responderVariables,omitempty"`
}

// Chain is one chain. Filters is a filter in its JSON form, or a query in quotes.
type Chain struct {
	ID         string          `json:"id,omitempty"`
	Filters    json.RawMessage `json:"filters,omitempty"`
	Extractor  Step            `json:"extractor"`
	Transforms []Step          `json:"transforms,omitempty"`
}

// Step is an extractor or a transform, by its type. All config values are texts.
type Step struct {
	Type   string            `json:"type"`
	Config map[string]string `json:"config,omitempty"`
}

// Variable is set before the first request.
type Variable struct {
	Name   string      `json:"name"`
	Config VariableSet `json:"config"`
}

// VariableSet says what a variable is set to.
type VariableSet struct {
	Extractor  Step   `json:"extractor"`
	Transforms []Step `json:"transforms,omitempty"`
}

// Parse reads a document and checks it. The error names what is wrong by its path.
func Parse(doc []byte) (*Config, error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	c := new(Config)
	if err := d.Decode(c); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	for _, side := range []struct {
		name      string
		chains    []Chain
		variables []Variable
	}{{"generator", c.Generator, c.GeneratorVariables}, {"responder", c.Responder, c.ResponderVariables}} {
		if _, err := compile(side.name, side.chains, side.variables, nil); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Environment is what chains read beside the traffic. Nil members stand for those of
// the process.
type Environment struct {
	// Secrets is the folder of secrets: name/key is a file in it.
	Secrets string
	Getenv  func(name string) (string, bool)
	Now     func() time.Time
}

// SecretsHome is where the operator mounts the Secrets of a TrafficReplay's
// secretRefs.
const SecretsHome = "/home/speedscale/secret"

func (e Environment) withDefaults() *Environment {
	if e.Secrets == "" {
		e.Secrets = SecretsHome
	}
	if e.Getenv == nil {
		e.Getenv = os.LookupEnv
	}
	if e.Now == nil {
		e.Now = time.Now
	}
	return &e
}

// Set is compiled chains. It is safe for concurrent use.
type Set struct {
	chains    []*chain
	variables []variable
	env       *Environment
}

// GeneratorSet compiles the generator's chains, and reads their secrets. It is nil
// where c is.
func (c *Config) GeneratorSet(env Environment) (*Set, error) {
	if c == nil {
		return nil, nil
	}
	return compile("generator", c.Generator, c.GeneratorVariables, env.withDefaults())
}

// ResponderSet compiles the responder's chains, and reads their secrets. It is nil
// where c is.
func (c *Config) ResponderSet(env Environment) (*Set, error) {
	if c == nil {
		return nil, nil
	}
	return compile("responder", c.Responder, c.ResponderVariables, env.withDefaults())
}

// chain is compiled.
type chain struct {
	name    string // as outcomes have it
	filter  *filter.Filter
	extract extractor
	steps   []step
}

type variable struct {
	name string
	chain
}

// compile reads no secret, file or variable of the environment where env is nil.
func compile(side string, chains []Chain, variables []Variable, env *Environment) (*Set, error) {
	s := &Set{env: env}
	if len(chains) > maxChains || len(variables) > maxChains {
		return nil, fmt.Errorf("%s: %d chains and %d variables: want at most %d of each", side, len(chains), len(variables), maxChains)
	}
	for i, v := range variables {
		path := fmt.Sprintf("%sVariables[%d]", side, i)
		if !isName(v.Name) {
			return nil, fmt.Errorf("%s.name: %q: want letters, digits, - and _", path, v.Name)
		}
		c, err := compileChain(path+".config", v.Config.Extractor, v.Config.Transforms, env)
		if err != nil {
			return nil, err
		}
		if c.extract.of(request) || c.extract.of(response) {
			return nil, fmt.Errorf("%s.config.extractor.type: %q: a variable is set before there is traffic; use empty or file", path, v.Config.Extractor.Type)
		}
		s.variables = append(s.variables, variable{v.Name, *c})
	}
	for i, doc := range chains {
		path := fmt.Sprintf("%s[%d]", side, i)
		c, err := compileChain(path, doc.Extractor, doc.Transforms, env)
		if err != nil {
			return nil, err
		}
		if c.filter, err = parseFilter(doc.Filters); err != nil {
			return nil, fmt.Errorf("%s.filters: %w", path, err)
		}
		if c.name = "transforms." + path; doc.ID != "" {
			c.name += " (" + doc.ID + ")"
		}
		s.chains = append(s.chains, c)
	}
	return s, nil
}

func compileChain(path string, from Step, transforms []Step, env *Environment) (*chain, error) {
	c := &chain{}
	var err error
	if c.extract, err = newExtractor(from, env); err != nil {
		return nil, fmt.Errorf("%s.extractor.%w", path, err)
	}
	if len(transforms) > maxSteps {
		return nil, fmt.Errorf("%s.transforms: %d of them: want at most %d", path, len(transforms), maxSteps)
	}
	for i, doc := range transforms {
		s, err := newStep(doc, env)
		if err != nil {
			return nil, fmt.Errorf("%s.transforms[%d].%w", path, i, err)
		}
		c.steps = append(c.steps, s)
	}
	return c, nil
}

func parseFilter(doc json.RawMessage) (*filter.Filter, error) {
	if len(doc) == 0 || string(doc) == "null" {
		return nil, nil
	}
	if doc[0] != '"' {
		return filter.ParseJSON(doc)
	}
	var query string
	if err := json.Unmarshal(doc, &query); err != nil {
		return nil, err
	}
	return filter.Parse(query)
}

func isName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// options reads the config of a step; what nobody read is not known.
type options struct {
	doc  Step
	env  *Environment
	read []string
	err  error
}

func (o *options) text(name, def string) string {
	o.read = append(o.read, name)
	v, ok := o.doc.Config[name]
	if !ok {
		return def
	}
	return v
}

func (o *options) needed(name string) string {
	v := o.text(name, "")
	if v == "" {
		o.fail(name, "is missing")
	}
	return v
}

// template reads a text in which ${{…}} is filled in.
func (o *options) template(name, def string) template {
	t, err := parseTemplate(o.text(name, def), o.env)
	if err != nil {
		o.fail(name, err.Error())
	}
	return t
}

func (o *options) fail(name, why string) {
	if o.err == nil {
		o.err = fmt.Errorf("config.%s: %s", name, why)
	}
}

// end refuses what is not known.
func (o *options) end() error {
	for _, name := range slices.Sorted(maps.Keys(o.doc.Config)) {
		if !slices.Contains(o.read, name) {
			slices.Sort(o.read)
			known := strings.Join(o.read, ", ")
			if known == "" {
				known = "nothing"
			}
			return fmt.Errorf("config.%s: is not known to %s; what is: %s", name, o.doc.Type, known)
		}
	}
	return o.err
}

// unknown names the types that there are.
func unknown[T any](kind string, known map[string]T) error {
	return fmt.Errorf("type: %q is not supported: use %s", kind, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
}

// Applying are the chains of a set that apply to a pair.
type Applying struct {
	set               *Set
	request, response []*chain
	pair              *traffic.RRPair
}

// For returns the chains that apply to a recorded pair, nil where none does: those
// that its filters match, and whose value the request has.
func (s *Set) For(p *traffic.RRPair) *Applying {
	if s == nil {
		return nil
	}
	a := &Applying{set: s, pair: p}
	for _, c := range s.chains {
		if c.filter != nil && !c.filter.Match(p) {
			continue
		}
		_, there := c.extract.get(p)
		switch {
		case c.extract.of(response): // the observed one may have what this one has not
			a.response = append(a.response, c)
		case there:
			a.request = append(a.request, c)
		}
	}
	if len(a.request)+len(a.response) == 0 && !s.replaces() {
		return nil
	}
	return a
}

// replaces says whether a chain learns what is replaced in every request.
func (s *Set) replaces() bool {
	return slices.ContainsFunc(s.chains, func(c *chain) bool {
		return slices.ContainsFunc(c.steps, func(st step) bool { _, ok := st.(smartReplace); return ok })
	})
}

// Package compare says how an observed response differs from the recorded one:
// in status, header fields, content type and body, where JSON is compared by
// path and gRPC by field, and content codings are undone first.
package compare

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/jsondoc"
	"github.com/speedscale/speedscale/traffic/signature"
)

// MaxDifferences bounds what Compare returns.
const MaxDifferences = 50

// Config says what is compared. The zero value compares all that Assertion
// names, with DefaultIgnoreHeaders left out.
type Config struct {
	// IgnoreHeaders are header fields to leave out, beside DefaultIgnoreHeaders.
	IgnoreHeaders []string
	// AllHeaders compares the fields of DefaultIgnoreHeaders too.
	AllHeaders bool
	// IgnorePaths are places in a body to leave out, as jsondoc.ParsePaths reads
	// them: JSON paths where they begin with $, else any path that contains the
	// text (the documented "ignore").
	IgnorePaths []string
	// StatusOnly compares the status code and nothing else.
	StatusOnly bool
	// Assertions are what must hold. None means all.
	Assertions []Assertion
	// Noise is left out.
	Noise []Noise
	// MaskedMatchAny lets a recorded REDACTED-… value match any other: for
	// snapshots whose masking key is not at hand.
	MaskedMatchAny bool
}

// Difference is one place where the observed response is not as recorded.
type Difference struct {
	// Location is a path from http.res: http.res.statusCode,
	// http.res.headers.Content-Type, http.res.body.items[0].sku.
	Location string `json:"location"`
	// Kind is one of the Kind constants.
	Kind Kind `json:"kind"`
	// Recorded and Observed are printable and at most signature.MaxText bytes;
	// empty where there is no value.
	Recorded string `json:"recorded"`
	Observed string `json:"observed"`
}

func (d Difference) String() string {
	switch d.Kind {
	case Added:
		return fmt.Sprintf("%s: %s was added", d.Location, d.Observed)
	case Removed:
		return fmt.Sprintf("%s: %s was removed", d.Location, d.Recorded)
	}
	return fmt.Sprintf("%s: recorded %s, observed %s", d.Location, d.Recorded, d.Observed)
}

// Kind says how a place differs.
type Kind string

// Kinds of differences.
const (
	Changed Kind = "changed"
	// TypeChanged is a JSON value of another type.
	TypeChanged Kind = "type"
	Added       Kind = "added"
	Removed     Kind = "removed"
)

// Locations that are not below a header or a body.
const (
	locStatus   = "http.res.statusCode"
	locHeaders  = "http.res.headers."
	locTrailers = "http.res.trailers."
	locCookies  = "http.res.cookies."
	locBody     = "http.res.body"
)

// Comparer compares responses. It is safe for concurrent use.
type Comparer struct {
	rules  rules
	ignore jsondoc.Paths
	skip   map[string]bool // header fields, in lower case
	noise  map[place]bool
	masked bool
}

// New returns a comparer. A place of cfg.IgnorePaths that Check calls wrong is
// compared.
func New(cfg Config) *Comparer {
	c := &Comparer{rules: rulesOf(cfg), skip: map[string]bool{}, masked: cfg.MaskedMatchAny}
	c.ignore, _ = jsondoc.ParsePaths(cfg.IgnorePaths)
	if !cfg.AllHeaders {
		for _, name := range DefaultIgnoreHeaders() {
			c.skip[strings.ToLower(name)] = true
		}
	}
	for _, name := range cfg.IgnoreHeaders {
		c.skip[strings.ToLower(name)] = true
	}
	if len(cfg.Noise) > 0 {
		c.noise = make(map[place]bool, len(cfg.Noise))
		for _, n := range cfg.Noise {
			c.noise[place{n.Method, n.Path, n.Location}] = true
		}
	}
	return c
}

// Check says what is wrong with the configuration.
func (c Config) Check() error {
	if _, err := jsondoc.ParsePaths(c.IgnorePaths); err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	for _, a := range c.Assertions {
		if err := a.check(); err != nil {
			return fmt.Errorf("compare: %w", err)
		}
	}
	return nil
}

// Compare returns the differences, none where the responses are alike, and at
// most MaxDifferences. Responses whose bytes are equal cost no decoding.
func (c *Comparer) Compare(recorded, observed *traffic.RRPair) []Difference {
	want, got := recorded.GetHttp().GetRes(), observed.GetHttp().GetRes()
	if want == nil || got == nil {
		return c.missing(want, got)
	}
	d := differ{c: c, pair: recorded}
	if c.rules.status && want.StatusCode != got.StatusCode {
		d.add(locStatus, Changed, strconv.Itoa(int(want.StatusCode)), strconv.Itoa(int(got.StatusCode)))
	}
	if c.rules.headers {
		d.fields(locHeaders, want.Headers, got.Headers)
		d.fields(locTrailers, want.Trailers, got.Trailers)
	}
	if c.rules.contentType {
		d.contentType(want, got)
	}
	if c.rules.cookies {
		d.cookies(want.Headers, got.Headers)
	}
	switch {
	case c.rules.body == nil:
	case recorded.ResponseCut() || observed.ResponseCut():
		d.cut(want, got)
	case !bytes.Equal(want.Body, got.Body):
		d.body(want, got)
	}
	return d.list
}

func (c *Comparer) missing(want, got *traffic.HTTPResponse) []Difference {
	switch {
	case want != nil:
		return []Difference{{Location: "http.res", Kind: Removed, Recorded: strconv.Itoa(int(want.StatusCode))}}
	case got != nil:
		return []Difference{{Location: "http.res", Kind: Added, Observed: strconv.Itoa(int(got.StatusCode))}}
	}
	return nil
}

// differ gathers the differences of one response.
type differ struct {
	c    *Comparer
	pair *traffic.RRPair
	list []Difference

	// What noise is looked up by; found when it is first needed.
	method, endpoint string
}

// add is false where no more differences are wanted.
func (d *differ) add(location string, kind Kind, recorded, observed string) bool {
	if d.c.masked && kind != Removed && maskedMatch(unquoted(recorded), unquoted(observed)) {
		return true
	}
	location = signature.Printable(location)
	if d.isNoise(location) {
		return true
	}
	d.list = append(d.list, Difference{
		Location: location, Kind: kind,
		Recorded: signature.Printable(recorded), Observed: signature.Printable(observed),
	})
	return len(d.list) < MaxDifferences
}

// unquoted lets a masked value, which is a string, stand for a number too.
func unquoted(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

func (d *differ) isNoise(location string) bool {
	if d.c.noise == nil {
		return false
	}
	if d.endpoint == "" {
		d.method, d.endpoint = endpointOf(d.pair)
	}
	return d.c.noise[place{d.method, d.endpoint, jsondoc.AnyIndex(location)}]
}

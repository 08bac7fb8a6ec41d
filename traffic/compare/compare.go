// Package compare says how an observed response differs from the recorded one.
package compare

import (
	"iter"

	"github.com/speedscale/speedscale/traffic"
)

// Config says what is compared.
type Config struct {
	// IgnoreHeaders are header fields to leave out, beside DefaultIgnoreHeaders.
	IgnoreHeaders []string
	// IgnorePaths are places in a body to leave out: JSON paths where they begin
	// with $, else any path that contains the text (the documented "ignore").
	IgnorePaths []string
	// StatusOnly compares the status code and nothing else.
	StatusOnly bool
	// Assertions are what must hold. None means all that New documents.
	Assertions []Assertion
	// Noise is left out.
	Noise []Noise
	// MaskedMatchAny lets a recorded REDACTED-… value match any other: for
	// snapshots whose masking key is not at hand.
	MaskedMatchAny bool
}

// Assertion is one documented assertion of a test config.
type Assertion struct {
	// Type is httpStatusCode, httpHeaders, httpResponseBody,
	// httpResponseContentType or httpResponseCookies.
	Type string `json:"type"`
	// Headers (httpHeaders) are the only header fields compared; none means all.
	Headers []string `json:"headers,omitempty"`
	// Ignore (httpResponseBody) leaves out paths that contain one of these.
	Ignore []string `json:"ignore,omitempty"`
	// IncludeOnly (httpResponseBody) compares only paths that contain one of these.
	IncludeOnly []string `json:"includeOnly,omitempty"`
	// AllowNew (httpResponseBody) lets the observed body have fields that the
	// recorded one has not. nil means true.
	AllowNew *bool `json:"allowNew,omitempty"`
}

// Difference is one place where the observed response is not as recorded.
type Difference struct {
	// Location is a path from http.res, like http.res.body.items[0].sku.
	Location string `json:"location"`
	// Kind is one of the Kind constants.
	Kind string `json:"kind"`
	// Recorded and Observed are printable and bounded.
	Recorded string `json:"recorded"`
	Observed string `json:"observed"`
}

// Values of Difference.Kind.
const (
	Changed     = "changed"
	TypeChanged = "type"
	Added       = "added"
	Removed     = "removed"
)

// Noise is a place that differs from one recording to the next.
type Noise struct {
	Method string `json:"method"`
	// Path is the endpoint, as of signature.Endpoint.
	Path string `json:"path"`
	// Location is as in Difference, with [*] for every index.
	Location string `json:"location"`
	// Pairs counts the pairs that differed there.
	Pairs int `json:"pairs"`
}

// Comparer compares responses. It is safe for concurrent use.
type Comparer struct{}

// New returns a comparer.
func New(cfg Config) *Comparer { return &Comparer{} }

// Compare returns the differences, none where the responses are alike.
func (c *Comparer) Compare(recorded, observed *traffic.RRPair) []Difference { return nil }

// Noise finds the places that differ between two recordings of the same requests.
func (c *Comparer) Noise(a, b iter.Seq[*traffic.RRPair]) []Noise { return nil }

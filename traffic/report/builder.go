package report

import (
	"io"
	"time"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/signature"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// Options describe a replay to its report.
type Options struct {
	// ID is a UUID; made where it is empty.
	ID string
	// Name is what a person calls the replay; the snapshot's name where empty.
	Name     string
	BuildTag string
	Tags     map[string]string
	// Goals decide, beside failures, whether the replay passed.
	Goals []Goal
	// MaxFailures is how many failures are kept for each endpoint; 0 means 5.
	MaxFailures int
}

// Builder folds results into a report. It is safe for concurrent use.
type Builder struct{}

// Result is one request that the generator sent.
type Result struct {
	Recorded *traffic.RRPair
	// Observed is nil where there was no response.
	Observed *traffic.RRPair
	// At is when the request was sent.
	At time.Time
	// Planned is the latency from the planned time, Sent that from the send.
	Planned, Sent time.Duration
	// Err says why there was no response.
	Err         error
	Differences []compare.Difference
}

// Outcome is what the responder did with a request.
type Outcome string

// Outcomes, as documented.
const (
	Match       Outcome = "MATCH"
	NoMatch     Outcome = "NO_MATCH"
	Passthrough Outcome = "PASSTHROUGH"
)

// MockResult is one request that the responder answered.
type MockResult struct {
	Request *traffic.RRPair
	Outcome Outcome
	// Nearest and Fields explain a miss.
	Nearest *traffic.RRPair
	Fields  []signature.Field
}

// NewBuilder begins a report on a replay of a snapshot against target.
func NewBuilder(meta *snapshot.Meta, target string, opts Options) *Builder { return &Builder{} }

// AddResult folds in what the generator saw.
func (b *Builder) AddResult(r Result) {}

// AddMock folds in what the responder did.
func (b *Builder) AddMock(r MockResult) {}

// Skip counts a recorded request that was not sent.
func (b *Builder) Skip(reason string) {}

// Warn adds a warning, once for each text.
func (b *Builder) Warn(text string) {}

// SetNoise states the places that were left out of the verdict.
func (b *Builder) SetNoise(noise []compare.Noise) {}

// Fail makes the status Error; the first error is kept.
func (b *Builder) Fail(err error) {}

// Cancel makes the status Canceled, unless it is Error already.
func (b *Builder) Cancel(reason string) {}

// Finish returns the report. The builder must not be used afterwards.
func (b *Builder) Finish() *Report { return &Report{} }

// WriteJSON writes the report as indented JSON.
func (r *Report) WriteJSON(w io.Writer) error { return nil }

// WriteJUnit writes JUnit XML: a test case for each endpoint and each goal.
func (r *Report) WriteJUnit(w io.Writer) error { return nil }

// WriteMarkdown writes Markdown.
func (r *Report) WriteMarkdown(w io.Writer) error { return nil }

// WriteHTML writes one self-contained page.
func (r *Report) WriteHTML(w io.Writer) error { return nil }

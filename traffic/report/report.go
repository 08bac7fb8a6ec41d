// Package report says what a replay showed: what was sent, what changed, how
// fast it was, and whether it passed. A Builder folds results into a Report,
// which is written as JSON, JUnit XML, Markdown or one HTML file.
package report

import (
	"time"

	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/signature"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// Version is the schema of the JSON that this package writes.
const Version = 1

// Status is the verdict.
type Status string

// The verdicts, as documented.
const (
	Passed      Status = "Passed"
	MissedGoals Status = "Missed Goals"
	Error       Status = "Error"
	Canceled    Status = "Canceled"
)

// Report is the outcome of one replay. Its JSON is what the cloud keeps.
type Report struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	Name    string `json:"name"`
	Status  Status `json:"status"`
	// Error says why the status is Error or Canceled.
	Error    string            `json:"error,omitempty"`
	BuildTag string            `json:"buildTag,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
	Snapshot SnapshotRef       `json:"snapshot"`
	// Target is where requests were sent.
	Target   string    `json:"target"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	// SuccessRate is the percentage of sent requests that passed.
	SuccessRate float64    `json:"successRate"`
	Requests    Requests   `json:"requests"`
	Latency     Latency    `json:"latency"`
	Throughput  Throughput `json:"throughput"`
	// Mocks is nil where nothing was mocked.
	Mocks *Mocks `json:"mocks,omitempty"`
	// Others is nil where no request of others is known of.
	Others    *Others    `json:"others,omitempty"`
	Endpoints []Endpoint `json:"endpoints,omitempty"`
	// Failures are the first ones of each endpoint.
	Failures []Failure       `json:"failures,omitempty"`
	Goals    []GoalResult    `json:"goals,omitempty"`
	Losses   []snapshot.Loss `json:"losses,omitempty"`
	Gaps     []snapshot.Gap  `json:"gaps,omitempty"`
	Vanished []string        `json:"vanishedProducers,omitempty"`
	Noise    []compare.Noise `json:"noise,omitempty"`
	// Carried is what was carried over from responses to later requests.
	Carried  []Carried `json:"carried,omitempty"`
	Skipped  []Skip    `json:"skipped,omitempty"`
	Warnings []string  `json:"warnings,omitempty"`
	// Usage is what the workload's containers used, and ClusterEvents what
	// Kubernetes had to say about them, by time.
	Usage         []Usage        `json:"usage,omitempty"`
	ClusterEvents []ClusterEvent `json:"clusterEvents,omitempty"`
}

// SnapshotRef names the snapshot that was replayed.
type SnapshotRef struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Requests counts requests. Sent = Passed + Failed + Errors.
type Requests struct {
	Sent   int64 `json:"sent"`
	Passed int64 `json:"passed"`
	// Failed got a response that differs.
	Failed int64 `json:"failed"`
	// Errors got no response.
	Errors int64 `json:"errors"`
	// Skipped were not sent; Report.Skipped says why.
	Skipped int64 `json:"skipped"`
}

// Latency sums up latencies, from the planned time and from the send.
type Latency struct {
	Planned Summary `json:"planned"`
	Sent    Summary `json:"sent"`
	// Recorded is that of the same requests in the snapshot.
	Recorded Summary `json:"recorded"`
	// Distribution is of Sent, for drawing.
	Distribution []Bucket `json:"distribution,omitempty"`
}

// Summary is in milliseconds.
type Summary struct {
	Count int64   `json:"count"`
	Min   float64 `json:"min"`
	Avg   float64 `json:"avg"`
	P50   float64 `json:"p50"`
	P75   float64 `json:"p75"`
	P90   float64 `json:"p90"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// Bucket counts latencies up to To milliseconds, above the bucket before.
type Bucket struct {
	To    float64 `json:"to"`
	Count int64   `json:"count"`
}

// Throughput is how many responses came in.
type Throughput struct {
	PerSecond float64 `json:"perSecond"`
	PerMinute float64 `json:"perMinute"`
	// Interval is the length of a Timeline entry in seconds.
	Interval float64 `json:"interval,omitempty"`
	Timeline []Tick  `json:"timeline,omitempty"`
}

// Tick is one interval of the replay.
type Tick struct {
	Requests int64 `json:"requests"`
	Failed   int64 `json:"failed"`
}

// Mocks sums up what the responder did.
type Mocks struct {
	Requests    int64 `json:"requests"`
	Matched     int64 `json:"matched"`
	Missed      int64 `json:"missed"`
	Passthrough int64 `json:"passthrough"`
	// MatchRate is a percentage of Requests.
	MatchRate float64 `json:"matchRate"`
	// Misses are the first of each request.
	Misses []Miss `json:"misses,omitempty"`
}

// Miss is a request that no recorded one matched.
type Miss struct {
	Request string `json:"request"`
	Count   int64  `json:"count"`
	// Nearest is the recorded request that was most like it, and Fields how it
	// differs.
	Nearest string            `json:"nearest,omitempty"`
	Fields  []signature.Field `json:"fields,omitempty"`
}

// Endpoint sums up the requests of one method and grouped path.
type Endpoint struct {
	Method   string  `json:"method"`
	Path     string  `json:"path"`
	Requests int64   `json:"requests"`
	Failed   int64   `json:"failed"`
	Errors   int64   `json:"errors"`
	Latency  Summary `json:"latency"`
	Recorded Summary `json:"recorded"`
	// First is the first difference that was found, or the first error.
	First *compare.Difference `json:"firstDifference,omitempty"`
	Error string              `json:"firstError,omitempty"`
}

// Failure is one request whose response differs, or that got none.
type Failure struct {
	Method string    `json:"method"`
	Path   string    `json:"path"`
	URL    string    `json:"url"`
	At     time.Time `json:"at,omitzero"`
	// RefUUID is the recorded pair's, in base64 as in raw.jsonl.
	RefUUID     string               `json:"refUuid,omitempty"`
	Error       string               `json:"error,omitempty"`
	Differences []compare.Difference `json:"differences,omitempty"`
	Recorded    *Message             `json:"recorded,omitempty"`
	Observed    *Message             `json:"observed,omitempty"`
}

// Message is a response, bounded and readable.
type Message struct {
	Status  int      `json:"status"`
	Headers []string `json:"headers,omitempty"`
	Body    string   `json:"body,omitempty"`
	// Cut says that Body is not all of it.
	Cut bool `json:"cut,omitempty"`
}

// Skip counts requests that were not sent, by reason.
type Skip struct {
	Reason string `json:"reason"`
	Count  int64  `json:"count"`
}

// Verdict returns the status.
func (r *Report) Verdict() Status { return r.Status }

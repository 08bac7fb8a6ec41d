// Package snapshot writes and reads snapshots: folders that hold selected pairs
// together with a statement of what they are and of what is missing.
//
//	snapshot.json   what the snapshot is (Meta)
//	raw.jsonl       every pair, in the order they were added
//	action.jsonl    the pairs that the generator sends (direction IN), by time
//	reaction.jsonl  the pairs that the responder answers (direction OUT), by time
//
// Names are those of the product's documentation, so that a documented
// raw.jsonl can be imported, and a snapshot can be read by other tools.
package snapshot

import (
	"encoding/json"
	"fmt"
	"time"
)

// Version is the schema that this package writes. A snapshot.json without a
// version is the documented form, which knows no losses and no masking.
const Version = 1

// Values of Meta.Status.
const (
	StatusComplete   = "Complete"
	StatusProcessing = "Processing"
)

// Meta is snapshot.json.
type Meta struct {
	// Version is the schema; Create sets it.
	Version int `json:"version"`
	// ID is a UUID; Create makes one where it is empty.
	ID   string `json:"id"`
	Info Info   `json:"meta"`
	// Status is StatusComplete once the snapshot is whole.
	Status string `json:"status"`
	// ProcessingDetails is free text.
	ProcessingDetails string `json:"processingDetails,omitempty"`
	// RecordsProcessed counts the pairs of raw.jsonl.
	RecordsProcessed int64 `json:"recordsProcessed"`
	// FilterExpression is the query that the pairs were selected with.
	FilterExpression string `json:"filter_expression,omitempty"`
	// InTraffic and OutTraffic are keyed by SliceKey.
	InTraffic  map[string]*Slice `json:"inTraffic"`
	OutTraffic map[string]*Slice `json:"outTraffic"`
	Tags       map[string]string `json:"tags,omitempty"`

	// Losses counts what was not captured or not kept in the snapshot's window.
	Losses []Loss `json:"losses,omitempty"`
	// Gaps are runs of pairs that were numbered and never arrived.
	Gaps []Gap `json:"gaps,omitempty"`
	// Vanished are producers that ended without a goodbye.
	Vanished []string `json:"vanishedProducers,omitempty"`
	// Masking says how the pairs were masked; nil where they were not.
	Masking *Masking `json:"masking,omitempty"`
}

// Info is the part of snapshot.json that a person gives or looks for.
type Info struct {
	Name string `json:"name"`
	// StartTime and EndTime bound the pairs' time. Where they are zero, Commit
	// sets them from the pairs.
	StartTime   time.Time   `json:"startTime,omitzero"`
	EndTime     time.Time   `json:"endTime,omitzero"`
	CreatedAt   time.Time   `json:"createdAt,omitzero"`
	Services    []string    `json:"services,omitempty"`
	Namespaces  []Namespace `json:"namespaces,omitempty"`
	ServiceName string      `json:"serviceName,omitempty"`
}

// Namespace names a namespace that pairs come from.
type Namespace struct {
	Name string `json:"name"`
}

// Slice sums up the pairs of one key.
type Slice struct {
	// Name is the service.
	Name     string `json:"name"`
	Hostname string `json:"hostname"`
	Port     int    `json:"port"`
	// Protocol is the l7protocol of the pairs.
	Protocol     string `json:"protocol"`
	NumRequests  int64  `json:"numRequests"`
	ReqBodyBytes int64  `json:"reqBodyBytes"`
	ResBodyBytes int64  `json:"resBodyBytes"`
	TotalBytes   int64  `json:"totalBytes"`
	// AvgLatency and TotalDuration are in milliseconds.
	AvgLatency    float64 `json:"avgLatency"`
	TotalDuration float64 `json:"totalDuration"`
	// PercentageOfTotal is the share of the requests of all slices.
	PercentageOfTotal float64  `json:"percentageOfTotal"`
	DetectedTech      []string `json:"detectedTech,omitempty"`
}

// Loss counts what was lost for one reason in one service and direction.
type Loss struct {
	// Reason is one of traffic's Reason constants.
	Reason    string `json:"reason"`
	Namespace string `json:"namespace,omitempty"`
	Service   string `json:"service,omitempty"`
	// Direction is IN, OUT or empty.
	Direction   string    `json:"direction,omitempty"`
	From        time.Time `json:"from,omitzero"`
	To          time.Time `json:"to,omitzero"`
	Pairs       uint64    `json:"pairs"`
	Connections uint64    `json:"connections"`
	Bytes       uint64    `json:"bytes"`
}

// Size says how much was lost, as far as anybody knows.
func (l Loss) Size() string {
	if l.Pairs == 0 && l.Connections == 0 && l.Bytes == 0 {
		return "nobody knows how much"
	}
	return fmt.Sprintf("%d pairs, %d connections, %d bytes", l.Pairs, l.Connections, l.Bytes)
}

// Gap is a run of a producer's pairs, from and to included, that no batch
// brought and no loss explains.
type Gap struct {
	Producer string `json:"producer"`
	From     uint64 `json:"from"`
	To       uint64 `json:"to"`
}

// Masking says by which rules, and with which key, values were masked. The key
// itself is never in a snapshot.
type Masking struct {
	Config json.RawMessage `json:"config,omitempty"`
	KeyID  string          `json:"keyId,omitempty"`
}

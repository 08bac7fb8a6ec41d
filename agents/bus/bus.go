// Package bus carries batches of pairs between agents and cloud over NATS: the
// subjects, connecting, publishing until acknowledged, and receiving. The server is
// in package broker.
package bus

import "github.com/speedscale/speedscale/traffic/wire"

// Subjects. A producer's id is one token of a subject.
const (
	// RawPairs + producer is where a proxy publishes a traffic.Batch to the
	// forwarder, as a request. No stream stores it. An empty answer
	// acknowledges the batch; HeaderError in the answer refuses it. Where pods prove
	// themselves by their own tokens it is Pod.Subject + producer.
	RawPairs = "pairs.raw."
	// SpoolPairs + producer is the forwarder's own stream of masked batches.
	SpoolPairs = "pairs.spool."
	// IngestPairs + producer is the cloud's stream of masked batches; the
	// JetStream acknowledgement says that the cloud's stream holds it.
	IngestPairs = "ingest.pairs."
	// ControlMasking is a request to the cloud, answered by cloudv1.Masking.
	ControlMasking = "control.masking"
	// RulesMasking is the same request to the forwarder, for proxies that mask
	// before they publish.
	RulesMasking = "rules.masking"
)

// Names of streams.
const (
	SpoolStream  = "SPOOL"
	IngestStream = "INGEST"
)

// HeaderError names the header of an answer that refuses a request.
const HeaderError = "Speedscale-Error"

// MaxPayload returns the largest message, in bytes, that bodies of maxBody bytes
// each way can make (0 means wire.DefaultMaxBody): one pair with two full bodies
// and heads, beside a batch that was almost full.
func MaxPayload(maxBody int) int {
	if maxBody <= 0 {
		maxBody = wire.DefaultMaxBody
	}
	return 2*maxBody + 3*wire.DefaultMaxHead + DefaultMaxBatchBytes
}

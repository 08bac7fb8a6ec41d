// Package bus carries batches of pairs between agents and cloud over NATS: the
// subjects, the embedded server, connecting, and publishing until acknowledged.
package bus

// Subjects. A producer's id is one token of a subject.
const (
	// RawPairs + producer is where a proxy publishes a traffic.Batch to the
	// forwarder, as a request. No stream stores it. An empty answer
	// acknowledges the batch; HeaderError in the answer refuses it.
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

// Package traffic defines the record of captured traffic, RRPair, and the batch
// that carries records from agent to archive. It knows no sockets and no
// Kubernetes. The JSON form of a pair (one per line in raw.jsonl) uses the names
// of the product's documentation.
package traffic

import (
	"crypto/rand"
	"strings"
)

// Reasons for which a pair, or a part of a connection, is not captured or kept.
// Every loss is counted under one of them.
const (
	ReasonBudget     = "memory_budget"     // the capture memory budget was used up
	ReasonQueue      = "queue_full"        // the parsers fell behind
	ReasonGap        = "gap"               // bytes were dropped before, so the pair has no whole form
	ReasonMalformed  = "malformed"         // the bytes are not of the protocol
	ReasonOversized  = "oversized"         // a head is longer than the limit
	ReasonPanic      = "parser_panic"      // a parser panicked
	ReasonUnknown    = "unknown_protocol"  // the protocol is not known
	ReasonOpaqueTLS  = "opaque_tls"        // TLS that is not intercepted
	ReasonUpgraded   = "upgraded"          // the connection changed to another protocol
	ReasonIncomplete = "incomplete"        // the connection ended in mid exchange
	ReasonFiltered   = "filtered"          // excluded by the filter
	ReasonSampled    = "sampled_out"       // not in the sample
	ReasonMaskFailed = "mask_failed"       // masking could not understand it, so it was dropped
	ReasonUnacked    = "unacknowledged"    // no acknowledgement before the budget was used up
	ReasonSpoolFull  = "spool_full"        // the forwarder's spool was full
	ReasonDisabled   = "capture_disabled"  // relayed without capture after repeated failures
	ReasonNoRules    = "no_masking_rules"  // the proxy has no masking rules yet
	ReasonNoGoodbye  = "producer_vanished" // a producer ended without a goodbye
	ReasonDataOff    = "data_off"          // the cluster sends no pairs to its cloud
	ReasonReplay     = "replay"            // traffic of a replay, which is not live traffic
)

// Values of RRPair.l7protocol.
const (
	HTTPProtocol = "http"
	GRPCProtocol = "grpc"
)

// Keys of RRPair.tags, as documented.
const (
	TagSource       = "source" // goproxy, generator or responder
	TagRefUUID      = "refUuid"
	TagProxyID      = "proxyId"
	TagSequence     = "sequence"
	TagCaptureMode  = "captureMode"
	TagProxyType    = "proxyType"
	TagProxyLoc     = "proxyLocation" // in or out
	TagProxyVersion = "proxyVersion"
	TagReplay       = "replay" // the id of the replay that the pair was seen in
)

// NewUUID returns 16 random bytes marked as a version 4 UUID (RFC 9562).
func NewUUID() []byte {
	u := make([]byte, 16)
	rand.Read(u) // crypto/rand.Read never fails
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return u
}

// HeaderValue returns the first value of a header field, and whether it is there.
// Names are compared without regard to case (RFC 9110, section 5.1).
func HeaderValue(headers []*Header, name string) (string, bool) {
	for _, h := range headers {
		if len(h.Name) == len(name) && strings.EqualFold(h.Name, name) {
			return h.Value, true
		}
	}
	return "", false
}

// RequestCut says whether the request's body is shorter than it was on the wire.
func (p *RRPair) RequestCut() bool {
	r := p.GetHttp().GetReq()
	return r.GetBodySize() > int64(len(r.GetBody()))
}

// ResponseCut says whether the response's body is shorter than it was on the wire.
func (p *RRPair) ResponseCut() bool {
	r := p.GetHttp().GetRes()
	return r.GetBodySize() > int64(len(r.GetBody()))
}

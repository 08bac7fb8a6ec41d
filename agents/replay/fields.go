// Package replay has what the generator and the responder share: how recorded
// pairs are chosen from a snapshot, how recorded fields are sent again, the settings
// of both binaries, and how a pod takes part in a replay that the cloud follows.
package replay

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/speedscale/speedscale/agents/http1"
	"github.com/speedscale/speedscale/traffic"
)

// WellFormed says whether recorded fields can be sent without becoming others: a
// line end in a value would start a field of its own.
func WellFormed(fields []*traffic.Header) bool {
	for _, h := range fields {
		if !strings.HasPrefix(h.Name, ":") && !httpguts.ValidHeaderFieldName(h.Name) || !httpguts.ValidHeaderFieldValue(h.Value) {
			return false
		}
	}
	return true
}

// Has says whether there is a field of such a name.
func Has(fields []*traffic.Header, name string) bool {
	_, ok := traffic.HeaderValue(fields, name)
	return ok
}

// Dropped returns a function that says which fields are about the recorded
// connection and are not sent: those of http1.HopByHop, those that Connection
// names (RFC 9110, section 7.6.1), and the pseudo-header fields of HTTP/2.
func Dropped(fields []*traffic.Header) func(name string) bool {
	var named []string
	for _, h := range fields {
		if strings.EqualFold(h.Name, "Connection") {
			for t := range strings.SplitSeq(h.Value, ",") {
				named = append(named, strings.TrimSpace(t))
			}
		}
	}
	return func(name string) bool {
		return strings.HasPrefix(name, ":") || http1.HopByHop(name) ||
			slices.ContainsFunc(named, func(n string) bool { return strings.EqualFold(n, name) })
	}
}

// AppendField appends a field line.
func AppendField(dst []byte, name, value string) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), "\r\n"...)
}

// Fields lists a header of net/http in the order of its names: the order that
// they were sent in is not known there. HTTP/2 has names in lower case (RFC 9113,
// section 8.2.1).
func Fields(h http.Header, lower bool) []*traffic.Header {
	list := make([]*traffic.Header, 0, len(h))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[name] {
			f := &traffic.Header{Name: name, Value: v}
			if lower {
				f.Name = strings.ToLower(name)
			}
			list = append(list, f)
		}
	}
	return list
}

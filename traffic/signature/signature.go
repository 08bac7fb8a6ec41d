// Package signature reduces a request to what must be equal for a recorded
// response to answer it, and says how two requests differ.
package signature

import (
	"iter"

	"github.com/speedscale/speedscale/traffic"
)

// Keys of a signature. Those of HTTP are as documented.
const (
	KeyHost   = "http:host"
	KeyMethod = "http:method"
	// KeyURL is the path.
	KeyURL    = "http:url"
	KeyQuery  = "http:queryparams"
	KeyHeader = "http:headers"
	KeyJSON   = "http:requestBodyJSON"
	KeyForm   = "http:requestBodyForm"
	// KeyBody is the SHA-256 of a body that is neither JSON nor a form.
	KeyBody = "http:requestBodyHash"
	KeyGRPC = "grpc:request"
)

// Entry is one key of a signature.
type Entry struct {
	Key   string
	Value []byte
}

// Signature is a list of entries in the order of their keys.
type Signature []Entry

// Options say what a signature is made of.
type Options struct {
	// Headers names the header fields to include; by default none is.
	Headers []string
	// IgnoreKeys are signature keys to leave out, like http:host.
	IgnoreKeys []string
	// IgnorePaths are query parameters, form fields and JSON paths to leave out.
	IgnorePaths []string
}

// Of returns the signature of a pair's request.
func Of(p *traffic.RRPair, opts Options) Signature { return nil }

// Hash identifies the signature: signatures are equal where their hashes are.
func (s Signature) Hash() [16]byte { return [16]byte{} }

// Key is Hash in hexadecimal.
func (s Signature) Key() string { return "" }

// Get returns the value of a key, nil where it is not there.
func (s Signature) Get(key string) []byte { return nil }

// Map returns the signature in the form of RRPair.signature.
func (s Signature) Map() map[string][]byte { return nil }

// Field is one difference between two signatures, printable and bounded.
type Field struct {
	// Key is a signature key, and below it a path, like
	// http:requestBodyJSON.items[0].sku.
	Key  string `json:"key"`
	Want string `json:"want"`
	Got  string `json:"got"`
}

// Diff returns the fields in which got differs from want.
func Diff(want, got Signature) []Field { return nil }

// Nearest returns the index of the candidate that is most like got, and its
// differences; -1 where there are none.
func Nearest(got Signature, candidates iter.Seq2[int, Signature]) (int, []Field) { return -1, nil }

// Endpoint groups a path: parts that are numbers, UUIDs or other ids become {id}.
func Endpoint(path string) string { return path }

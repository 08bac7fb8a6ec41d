// Package signature reduces a request to what must be equal for a recorded
// response to answer it, and says how two requests differ.
//
// A signature is a list of keys with values, of which all must be equal. The keys
// of HTTP are the documented ones. A body is compared by what it says: JSON
// without white space and with its members sorted, forms and queries sorted by
// name, gRPC messages by field, other bodies by their hash; content codings are
// undone first.
package signature

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/jsondoc"
)

// Keys of a signature.
const (
	// KeyHost is the host without its port, in lower case.
	KeyHost   = "http:host"
	KeyMethod = "http:method"
	// KeyURL is the path as sent.
	KeyURL = "http:url"
	// KeyQuery is the query, sorted by name; empty where there is none.
	KeyQuery = "http:queryparams"
	// KeyHeaders are the header fields that Options name.
	KeyHeaders = "http:headers"
	KeyJSON    = "http:requestBodyJSON"
	KeyForm    = "http:requestBodyForm"
	// KeyBody is the SHA-256 of a body of another kind, in hexadecimal.
	KeyBody = "http:requestBodyHash"
	// KeyGRPC has the messages of a gRPC request.
	KeyGRPC = "grpc:request"
)

// Entry is one key of a signature.
type Entry struct {
	Key   string
	Value []byte
}

// Signature is a list of entries in the order of their keys.
type Signature []Entry

// Options say what a signature is made of. The zero value is the documented
// default.
type Options struct {
	// Headers names the header fields to include; by default none is.
	Headers []string
	// IgnoreKeys are signature keys to leave out, like http:host.
	IgnoreKeys []string
	// IgnorePaths are query parameters, form fields and JSON paths to leave out,
	// as jsondoc.ParsePaths reads them. Check says whether it can.
	IgnorePaths []string
}

// Check says what is wrong with the options. Of leaves no path out where there
// is an error.
func (o Options) Check() error {
	if _, err := jsondoc.ParsePaths(o.IgnorePaths); err != nil {
		return fmt.Errorf("signature: %w", err)
	}
	return nil
}

// Of returns the signature of a pair's request. It is empty where the pair has
// no HTTP request.
func Of(p *traffic.RRPair, opts Options) Signature {
	req := p.GetHttp().GetReq()
	if req == nil {
		return nil
	}
	b := builder{
		opts: &opts,
		sig:  make(Signature, 0, 6),
		buf:  make([]byte, 0, 128+len(req.Uri)+len(req.Body)),
	}
	if len(opts.IgnorePaths) > 0 {
		b.skip, _ = jsondoc.ParsePaths(opts.IgnorePaths)
	}
	path, query := target(req)
	isGRPC := p.GetL7Protocol() == traffic.GRPCProtocol
	if isGRPC {
		b.body(req, true)
	}
	b.headers(req)
	b.add(KeyHost, func(dst []byte) []byte { return append(dst, hostOf(p)...) })
	b.add(KeyMethod, func(dst []byte) []byte { return append(dst, req.Method...) })
	b.add(KeyQuery, func(dst []byte) []byte { return appendQuery(dst, query, b.skip) })
	if !isGRPC {
		b.body(req, false)
	}
	b.add(KeyURL, func(dst []byte) []byte { return append(dst, path...) })
	return b.sig
}

// builder appends entries in the order of their keys. All values share buf.
type builder struct {
	opts *Options
	skip jsondoc.Paths
	sig  Signature
	buf  []byte
}

func (b *builder) add(key string, appendTo func([]byte) []byte) {
	if slices.Contains(b.opts.IgnoreKeys, key) {
		return
	}
	start := len(b.buf)
	b.buf = appendTo(b.buf)
	b.sig = append(b.sig, Entry{Key: key, Value: b.buf[start:len(b.buf):len(b.buf)]})
}

func (b *builder) headers(req *traffic.HTTPRequest) {
	if len(b.opts.Headers) == 0 {
		return
	}
	b.add(KeyHeaders, func(dst []byte) []byte {
		names := make([]string, len(b.opts.Headers))
		for i, name := range b.opts.Headers {
			names[i] = strings.ToLower(name)
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			for _, h := range req.Headers {
				if strings.EqualFold(h.GetName(), name) {
					dst = append(dst, name...)
					dst = append(dst, ": "...)
					dst = append(dst, h.GetValue()...)
					dst = append(dst, '\n')
				}
			}
		}
		return dst
	})
}

// target returns the path and the query as sent.
func target(req *traffic.HTTPRequest) (path, query string) {
	t := req.Uri
	if t == "" {
		t = req.Url
	}
	if _, rest, ok := strings.Cut(t, "://"); ok && !strings.HasPrefix(t, "/") {
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			t = rest[i:]
		} else {
			t = "/"
		}
	}
	t, _, _ = strings.Cut(t, "#")
	path, query, _ = strings.Cut(t, "?")
	if path == "" {
		path = "/"
	}
	return path, query
}

// hostOf returns the host that a request was for, without its port.
func hostOf(p *traffic.RRPair) string {
	host := p.GetHttp().GetReq().GetHost()
	if host == "" {
		host = p.GetNetworkAddress()
	}
	if strings.HasPrefix(host, "[") {
		host, _, _ = strings.Cut(host[1:], "]")
	} else if strings.Count(host, ":") == 1 {
		host, _, _ = strings.Cut(host, ":")
	}
	return strings.ToLower(host)
}

// Hash identifies the signature: where hashes are equal, signatures are.
func (s Signature) Hash() [16]byte {
	var space [1024]byte
	buf := space[:0]
	for _, e := range s {
		buf = binary.AppendUvarint(buf, uint64(len(e.Key)))
		buf = append(buf, e.Key...)
		buf = binary.AppendUvarint(buf, uint64(len(e.Value)))
		buf = append(buf, e.Value...)
	}
	sum := sha256.Sum256(buf)
	return [16]byte(sum[:16])
}

// Key is Hash in hexadecimal, for logs and files.
func (s Signature) Key() string {
	h := s.Hash()
	return hex.EncodeToString(h[:])
}

// Get returns the value of a key, nil where it is not there.
func (s Signature) Get(key string) []byte {
	for i := range s {
		if s[i].Key == key {
			return s[i].Value
		}
	}
	return nil
}

// Map returns the signature in the form of RRPair.signature.
func (s Signature) Map() map[string][]byte {
	m := make(map[string][]byte, len(s))
	for _, e := range s {
		m[e.Key] = e.Value
	}
	return m
}

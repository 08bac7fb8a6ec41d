// Package mask replaces secrets in pairs by keyed hashes, so that equal values
// stay equal, nothing can be read back, and what held them keeps its form.
//
// A value is masked where a rule names its key (a header, cookie, field of a
// query or form, member of JSON, element of XML, field of a gRPC message), or
// where a pattern finds it: anywhere, in what was sent percent-encoded, escaped,
// compressed, or as JSON in a string of JSON too. It becomes REDACTED-<hash>, or
// REDACTED-<CATEGORY>-<hash> where a pattern knows what it is. Under a named key
// every leaf is masked: strings so, numbers by as many other digits; true, false
// and null stay, as do keys and the lengths of arrays. Masking what is masked
// already leaves it as it is.
//
// It fails closed: a body that cannot be read while rules are active for it is an
// error, and the pair must be dropped (traffic.ReasonMaskFailed). Two kinds of
// body are spared this. Images, audio, video and fonts are kept as they are,
// unless a rule covers the whole body. Of a body that was cut, whose secrets may
// be cut too, nothing is kept; body_size still says how long it was.
//
// A masked body is stored without content coding; Content-Encoding and digests
// of the body are removed from its headers, and Content-Length is set.
package mask

import (
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/jsonscan"
)

// Masker masks pairs by one configuration and key. It is safe for concurrent use.
type Masker struct {
	cfg      *Config
	keyID    string
	names    *names
	named    place // where there are rules
	all      place // where everything is masked
	discover bool
	patterns patterns
	paths    [2][]jsonscan.Path // by pathsOf
	opaque   []string
	pool     sync.Pool // of *work
}

// pathsOf returns the index in Masker.paths: 0 for requests, 1 for responses.
func pathsOf(in place) int {
	if in&inResBody != 0 {
		return 1
	}
	return 0
}

// New compiles the rules.
func New(cfg *Config, key Key) (*Masker, error) {
	if cfg == nil {
		return nil, errors.New("mask: there is no configuration")
	}
	if len(key.Secret) < minSecret {
		return nil, fmt.Errorf("mask: key %q: the secret is %d bytes long, want at least %d", key.ID, len(key.Secret), minSecret)
	}
	m := &Masker{cfg: cfg, keyID: key.ID}
	if err := m.compile(); err != nil {
		return nil, err
	}
	mac := key.mac()
	m.pool.New = func() any { return &work{Masker: m, mac: mac()} }
	return m, nil
}

// active says whether anything is looked for in a place.
func (m *Masker) active(in place) bool { return m.discover || m.named&in != 0 }

// Config returns the rules. They must not be changed.
func (m *Masker) Config() *Config { return m.cfg }

// KeyID names the key.
func (m *Masker) KeyID() string { return m.keyID }

// Mask masks the pair in place, and marks it with the configuration and the key
// if it changed. A body that rules are active for and that cannot be understood
// is emptied, so that it cannot leak: its size stays, which marks it as cut, and
// the error says why (ErrNotUnderstood). The pair holds nothing unmasked in
// either case.
func (m *Masker) Mask(p *traffic.RRPair) (changed bool, err error) {
	w := m.pool.Get().(*work)
	defer m.pool.Put(w)
	changed, err = w.pair(p)
	if changed {
		p.DlpModified, p.DlpRule, p.MaskKeyId = true, m.cfg.ID, m.keyID
	}
	return changed, err
}

func (w *work) pair(p *traffic.RRPair) (changed bool, err error) {
	changed = w.meta(p)
	if req := p.GetHttp().GetReq(); req != nil {
		c, bad := w.request(req)
		changed = changed || c
		if bad != nil {
			err = fmt.Errorf("mask: http.req.body: %w", bad)
		}
	}
	if res := p.GetHttp().GetRes(); res != nil {
		c, bad := w.response(res)
		changed = changed || c
		if bad != nil {
			err = errors.Join(err, fmt.Errorf("mask: http.res.body: %w", bad))
		}
	}
	return changed, err
}

// meta masks what was taken from the messages: location, session, signature…
func (w *work) meta(p *traffic.RRPair) bool {
	changed := w.field(&p.Location, w.url)
	changed = w.field(&p.NetworkAddress, w.host) || changed
	if w.all&inSession != 0 {
		changed = w.field(&p.Session, w.whole) || changed
	} else {
		changed = w.field(&p.Session, func(dst, s []byte) ([]byte, bool) { return w.text(dst, s, inSession) }) || changed
	}
	for _, e := range [...]*traffic.Endpoint{p.GetNetinfo().GetDownstream(), p.GetNetinfo().GetUpstream()} {
		if e != nil {
			changed = w.field(&e.Hostname, w.host) || changed
		}
	}
	for k, v := range p.Tags {
		masked, c := w.tag(k, v)
		if c {
			p.Tags[k] = masked
			changed = true
		}
	}
	for k, v := range p.Signature {
		masked, c := w.signature(w.buffer(), k, v)
		if c {
			p.Signature[k] = append([]byte(nil), masked...)
			changed = true
		}
		w.done(masked)
	}
	return changed
}

func (w *work) tag(key, value string) (string, bool) {
	mask := func(dst, s []byte) ([]byte, bool) { return w.text(dst, s, inTags) }
	if (w.all|find(w.names, key))&inTags != 0 {
		mask = w.whole
	}
	changed := w.field(&value, mask)
	return value, changed
}

// signature masks one part of a signature as what it was taken from: a query
// parameter by its name, JSON as JSON, all others as a URL or text.
func (w *work) signature(dst []byte, key string, value []byte) ([]byte, bool) {
	switch {
	case len(value) == 0:
		return dst, false
	case find(w.names, key)&everywhere != 0:
		return w.whole(dst, value)
	case !utf8.Valid(value):
		return w.whole(dst, value)
	case value[0] == '{' || value[0] == '[':
		return w.leaf(dst, value, inReqBody, 0)
	}
	return w.url(dst, value)
}

// field masks one string by one of the functions that append.
func (w *work) field(s *string, mask func(dst, s []byte) ([]byte, bool)) bool {
	if *s == "" {
		return false
	}
	plain := append(w.buffer(), *s...)
	masked, changed := mask(w.buffer(), plain)
	if changed {
		*s = string(masked)
	}
	w.done(plain)
	w.done(masked)
	return changed
}

// host masks what patterns find in a host name; no key names a part of it.
func (w *work) host(dst, s []byte) ([]byte, bool) { return w.text(dst, s, 0) }

func (w *work) request(r *traffic.HTTPRequest) (changed bool, err error) {
	changed = w.field(&r.Url, w.url)
	changed = w.field(&r.Uri, w.url) || changed
	changed = w.field(&r.Host, w.host) || changed
	changed = w.headers(r.Headers, inReqHeader, inReqCookie) || changed
	changed = w.headers(r.Trailers, inReqTrailer, inReqCookie) || changed
	contentType, _ := traffic.HeaderValue(r.Headers, "Content-Type")
	c, err := w.body(message{&r.Headers, contentType, &r.Body, &r.BodySize, inReqBody})
	return changed || c, err
}

func (w *work) response(r *traffic.HTTPResponse) (changed bool, err error) {
	changed = w.field(&r.StatusMessage, w.host)
	changed = w.headers(r.Headers, inResHeader, inResCookie) || changed
	changed = w.headers(r.Trailers, inResTrailer, inResCookie) || changed
	contentType := r.ContentType
	if contentType == "" {
		contentType, _ = traffic.HeaderValue(r.Headers, "Content-Type")
	}
	c, err := w.body(message{&r.Headers, contentType, &r.Body, &r.BodySize, inResBody})
	return changed || c, err
}

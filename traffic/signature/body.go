package signature

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"mime"
	"net/url"
	"slices"
	"strings"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/jsondoc"
	"github.com/speedscale/speedscale/traffic/wire/body"
)

// body adds the entry of the request's body, if it has one.
func (b *builder) body(req *traffic.HTTPRequest, isGRPC bool) {
	if len(req.Body) == 0 && req.BodySize == 0 {
		return
	}
	contentType, _ := traffic.HeaderValue(req.Headers, "Content-Type")
	content := Decoded(req.Headers, req.Body)
	if isGRPC {
		b.add(KeyGRPC, func(dst []byte) []byte {
			if list, ok := AppendGRPC(dst, req.Headers, content); ok {
				return b.without(list, len(dst))
			}
			return appendHash(dst, content)
		})
		return
	}
	if isForm(contentType) {
		b.add(KeyForm, func(dst []byte) []byte { return appendQuery(dst, string(content), b.skip) })
		return
	}
	// What says it is JSON and is not, like a body that was cut, goes by its hash.
	if mayBeJSON(contentType, content) {
		if buf, err := jsondoc.AppendCanonical(b.buf, content, b.skip); err == nil {
			b.add(KeyJSON, func([]byte) []byte { return buf })
			return
		}
	}
	b.add(KeyBody, func(dst []byte) []byte { return appendHash(dst, withoutBoundary(contentType, content)) })
}

// without leaves the ignored paths out of the document that begins at start.
func (b *builder) without(buf []byte, start int) []byte {
	if b.skip.Empty() {
		return buf
	}
	kept, err := jsondoc.AppendCanonical(buf[:start], slices.Clone(buf[start:]), b.skip)
	if err != nil { // of a message that nests deeper than JSON may
		return buf
	}
	return kept
}

// maxDecoded bounds what a coded body may become: four times the largest that is
// recorded.
const maxDecoded = 32 << 20

// Decoded returns a body without the content codings that its headers name, and
// as it is where they cannot be undone.
func Decoded(headers []*traffic.Header, content []byte) []byte {
	coding, ok := traffic.HeaderValue(headers, "Content-Encoding")
	if !ok {
		return content
	}
	plain, err := body.Decode(coding, content, maxDecoded)
	if err != nil {
		return content
	}
	return plain
}

func isForm(contentType string) bool {
	const form = "application/x-www-form-urlencoded"
	return len(contentType) >= len(form) && strings.EqualFold(contentType[:len(form)], form)
}

// mayBeJSON says whether it is worth trying: many clients send JSON under
// another type, or none.
func mayBeJSON(contentType string, body []byte) bool {
	if strings.Contains(strings.ToLower(contentType), "json") {
		return true
	}
	body = bytes.TrimLeft(body, " \t\r\n")
	return len(body) > 0 && (body[0] == '{' || body[0] == '[')
}

func appendHash(dst, body []byte) []byte {
	sum := sha256.Sum256(body)
	return hex.AppendEncode(dst, sum[:])
}

// withoutBoundary takes the boundary out of a multipart body: clients make a new
// one for each request (RFC 2046, section 5.1.1).
func withoutBoundary(contentType string, body []byte) []byte {
	if !strings.HasPrefix(strings.ToLower(contentType), "multipart/") {
		return body
	}
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" {
		return body
	}
	return bytes.ReplaceAll(body, []byte("--"+params["boundary"]), []byte("--"))
}

// param is one name and value of a query or a form.
type param struct{ name, value string }

// params splits a query. What cannot be unescaped is kept as written.
func params(query string) []param {
	var list []param
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		list = append(list, param{unescaped(name), unescaped(value)})
	}
	return list
}

func unescaped(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// appendQuery appends a query or form sorted by name; the values of one name
// keep their order.
func appendQuery(dst []byte, query string, skip jsondoc.Paths) []byte {
	if query == "" {
		return dst
	}
	list := params(query)
	slices.SortStableFunc(list, func(a, b param) int { return cmp.Compare(a.name, b.name) })
	start := len(dst)
	for _, p := range list {
		if skip.Match(p.name) {
			continue
		}
		if len(dst) > start {
			dst = append(dst, '&')
		}
		dst = append(dst, url.QueryEscape(p.name)...)
		dst = append(dst, '=')
		dst = append(dst, url.QueryEscape(p.value)...)
	}
	return dst
}

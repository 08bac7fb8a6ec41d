package filter

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/jsonscan"
	"github.com/speedscale/speedscale/traffic/wire/body"
)

// holdsForBody decides the rules that read bodies.
func (r *rule) holdsForBody(p *traffic.RRPair) bool {
	req, res := p.GetHttp().GetReq(), p.GetHttp().GetRes()
	switch r.key {
	case keyReqBodyHash:
		sum := sha256.Sum256(req.GetBody())
		var b [2 * sha256.Size]byte
		hex.Encode(b[:], sum[:])
		return r.is(string(b[:]))
	case keyReqJSON:
		return r.json(plain(req.GetHeaders(), req.GetBody()))
	case keyRespJSON:
		return r.json(plain(res.GetHeaders(), res.GetBody()))
	case keyReqXML:
		return r.xml(plain(req.GetHeaders(), req.GetBody()))
	case keyText:
		return r.text(p)
	}
	return false
}

// json compares the values that the path leads to: strings by what they stand
// for, everything else as written.
func (r *rule) json(doc []byte) bool {
	return r.path.Any(doc, func(v []byte) bool {
		if len(v) < 2 || v[0] != '"' {
			return r.isBytes(v)
		}
		s := v[1 : len(v)-1]
		if bytes.IndexByte(s, '\\') >= 0 {
			s = jsonscan.Unescape(nil, s)
		}
		return r.isBytes(s)
	})
}

// xml compares the text of the elements that the path leads to, with white
// space trimmed and without what their children hold.
func (r *rule) xml(doc []byte) bool {
	if len(doc) == 0 {
		return false
	}
	d := xml.NewDecoder(bytes.NewReader(doc))
	d.Strict = false
	depth, on := 0, 0 // on is how many of the open elements are on the path
	var text []byte
	for {
		token, err := d.RawToken()
		if err != nil {
			return false
		}
		switch t := token.(type) {
		case xml.StartElement:
			if on == depth && on < len(r.steps) && t.Name.Local == r.steps[on] {
				on++
				text = text[:0]
			}
			depth++
		case xml.CharData:
			if on == len(r.steps) && depth == on {
				text = append(text, t...)
			}
		case xml.EndElement:
			if on == len(r.steps) && depth == on && r.isBytes(bytes.TrimSpace(text)) {
				return true
			}
			depth--
			on = max(min(on, depth), 0)
		}
	}
}

// text compares everything that a person reads in a pair.
func (r *rule) text(p *traffic.RRPair) bool {
	req, res := p.GetHttp().GetReq(), p.GetHttp().GetRes()
	for _, s := range [...]string{p.Command, p.Location, p.Status, p.NetworkAddress, req.GetUrl(), req.GetUri(), res.GetStatusMessage()} {
		if r.is(s) {
			return true
		}
	}
	for _, headers := range [...][]*traffic.Header{req.GetHeaders(), req.GetTrailers(), res.GetHeaders(), res.GetTrailers()} {
		for _, h := range headers {
			if r.is(h.Name) || r.is(h.Value) {
				return true
			}
		}
	}
	return r.isBytes(plain(req.GetHeaders(), req.GetBody())) || r.isBytes(plain(res.GetHeaders(), res.GetBody()))
}

// maxDecoded bounds what a body is decoded to, in bytes.
const maxDecoded = 32 << 20

// plain undoes the content coding of a body, as far as it can.
func plain(headers []*traffic.Header, b []byte) []byte {
	coding, ok := traffic.HeaderValue(headers, "Content-Encoding")
	if !ok || len(b) == 0 {
		return b
	}
	// What decodes before an error is better than nothing to search in.
	decoded, _ := body.Decode(coding, b, maxDecoded)
	return decoded
}

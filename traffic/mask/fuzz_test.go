package mask_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/jsonscan"
	"github.com/speedscale/speedscale/traffic/mask"
)

// shape is what masking keeps of a JSON value: kinds, lengths and order.
func shape(t *testing.T, b []byte, i int, out *strings.Builder) int {
	switch b[i] {
	case '{', '[':
		out.WriteByte(b[i])
		m := jsonscan.Walk(b, i, 0)
		for m.Next() {
			m.SetPos(shape(t, b, m.Pos(), out))
			out.WriteByte(',')
		}
		if !m.OK() {
			t.Fatalf("not valid: %q", b)
		}
		return m.Pos()
	case '"':
		out.WriteByte('s')
	case 't', 'f', 'n':
		out.WriteByte(b[i])
	default:
		out.WriteByte('0')
	}
	end, _ := jsonscan.Skip(b, i)
	return end
}

func FuzzJSON(f *testing.F) {
	for _, seed := range []string{`{"a":1,"b":[true,null,"x\n"]}`, `"bob@example.com"`, `{"token":{"a":[1.5e3,-0]}}`, `[]`, ` 4111111111111111 `,
		`{"m":"{\"password\":\"x\"}","REDACTED-0123456789abcdef01234567":1}`, `"\ud800 +4915112345678"`} {
		f.Add([]byte(seed))
	}
	m := masker(f, mask.Standard())
	const secret = "pl4nted-s3cret"
	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) > jsonscan.MaxDepth-1 {
			return
		}
		doc := []byte(`{"a":` + string(value) + `,"password":["` + secret + `"]}`)
		p := request("application/json", string(doc))
		_, err := m.Mask(p)
		if valid := json.Valid(doc); valid != (err == nil) {
			t.Fatalf("%q: valid %v, error %v", doc, valid, err)
		}
		if err != nil {
			return
		}
		masked := p.Http.Req.Body
		if !json.Valid(masked) || bytes.Contains(masked, []byte(secret)) && !bytes.Contains(value, []byte(secret)) {
			t.Fatalf("%q became %q", doc, masked)
		}
		var was, is strings.Builder
		shape(t, doc, 0, &was)
		shape(t, masked, 0, &is)
		if was.String() != is.String() {
			t.Fatalf("%q of shape %s became %q of shape %s", doc, &was, masked, &is)
		}
		once := proto.CloneOf(p)
		if changed, err := m.Mask(p); err != nil || changed || !proto.Equal(once, p) {
			t.Fatalf("%q, masked %q, and again %q (%v)", doc, once.Http.Req.Body, p.Http.Req.Body, err)
		}
	})
}

// FuzzPair masks whatever comes, in every place, with a secret in each.
func FuzzPair(f *testing.F) {
	f.Add("application/x-www-form-urlencoded", []byte("a=1&b"), "/x?y=%4")
	f.Add("multipart/form-data; boundary=b", []byte("--b\r\n\r\nx\r\n--b--"), "http://u:p@h:1/")
	f.Add("text/xml", []byte("<a b='c'><![CDATA[<x]]></a"), "*")
	f.Add("text/plain", []byte("token: 'x\\' 4111 1111 1111 1111 a@b.cc %40 -----BEGIN PRIVATE KEY-----"), "h:443")
	f.Add("text/event-stream", []byte("data: {\ndata: {}\n"), "//")
	f.Add("image/png", []byte("\x89\x00"), "?#?")
	m := masker(f, mask.Standard())
	const email, keyed = "pl4nted@example.com", "pl4nted-s3cret"
	f.Fuzz(func(t *testing.T, contentType string, body []byte, uri string) {
		body = append(bytes.Clone(body), " "+email...)
		p := request(contentType, string(body))
		p.Http.Req.Uri, p.Location, p.Session = uri, "/"+uri, uri
		p.Http.Req.Headers = append(p.Http.Req.Headers, &traffic.Header{Name: "Cookie", Value: uri},
			&traffic.Header{Name: "X-Any", Value: uri + " " + email}, &traffic.Header{Name: "Password", Value: uri + keyed})
		p.Http.Res.Headers = []*traffic.Header{{Name: "Set-Cookie", Value: uri}, {Name: "Location", Value: uri + "?token=" + keyed}}
		if _, err := m.Mask(p); err != nil {
			if strings.Contains(err.Error(), email) {
				t.Fatalf("the error holds a part of the pair: %v", err)
			}
			return
		}
		opaque := strings.Contains(contentType, "/") && bytes.Equal(p.Http.Req.Body, body)
		if !opaque && bytes.Contains(p.Http.Req.Body, []byte(email)) {
			t.Fatalf("the body keeps the secret: %q", p.Http.Req.Body)
		}
		for _, h := range append(p.Http.Req.Headers[3:], p.Http.Res.Headers...) {
			if strings.Contains(h.Value, email) || strings.Contains(h.Value, keyed) {
				t.Fatalf("%s keeps the secret: %q", h.Name, h.Value)
			}
		}
	})
}

// FuzzIdempotent masks texts twice.
func FuzzIdempotent(f *testing.F) {
	f.Add("text/plain", "password=x y@z.com")
	f.Add("text/xml", "<password>a<b>c")
	f.Add("application/x-www-form-urlencoded", "token=a+b&c=%40")
	m := masker(f, mask.Standard())
	f.Fuzz(func(t *testing.T, contentType, body string) {
		p := request(contentType, body)
		if _, err := m.Mask(p); err != nil {
			return
		}
		once := proto.CloneOf(p)
		if changed, err := m.Mask(p); err != nil || changed {
			t.Fatalf("%q, masked %q, and again %q (%v)", body, once.Http.Req.Body, p.Http.Req.Body, err)
		}
	})
}

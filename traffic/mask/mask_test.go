package mask_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/mask"
)

func masker(t testing.TB, cfg *mask.Config) *mask.Masker {
	t.Helper()
	m, err := mask.New(cfg, mask.Key{ID: "k1", Secret: []byte("0123456789abcdef0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func config(t testing.TB, data string) *mask.Config {
	t.Helper()
	cfg, err := mask.ParseConfig([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// request makes a pair of a request with this body.
func request(contentType, body string) *traffic.RRPair {
	return &traffic.RRPair{Http: &traffic.HTTP{
		Req: &traffic.HTTPRequest{Method: "POST", Uri: "/x", Body: []byte(body), BodySize: int64(len(body)),
			Headers: []*traffic.Header{{Name: "Content-Type", Value: contentType}, {Name: "Content-Length", Value: fmt.Sprint(len(body))}}},
		Res: &traffic.HTTPResponse{StatusCode: 200},
	}}
}

// tokens replaces the hash of every masked value, so that a test can say what it expects.
var hash = regexp.MustCompile(`(REDACTED-(?:[A-Z0-9_]+-)?)[0-9a-f]{24}`)

func tokens(s string) string { return hash.ReplaceAllString(s, "${1}#") }

func TestBody(t *testing.T) {
	const card = "4111 1111 1111 1111"
	tests := []struct{ name, contentType, body, want string }{
		{"json keys at any depth", "application/json",
			`{"user":"bob", "password" : "p\u0061ss", "a":[{"apiKey":"x"},{"API_KEY":[1,true,null,"y",{"z":"q"}]}]}`,
			`{"user":"bob", "password" : "REDACTED-#", "a":[{"apiKey":"REDACTED-#"},{"API_KEY":[1,true,null,"REDACTED-#",{"z":"REDACTED-#"}]}]}`},
		{"json numbers", "application/json", `{"pin":4711,"secret":-12.5e3,"token":0.75,"card":4111111111111111,"n":4111111111111112}`,
			`{"pin":1000,"secret":-10.0e3,"token":0.00,"card":`},
		{"json patterns", "application/problem+json", `{"m":"mail bob@example.com or +49 170 1234567, card ` + card + `."}`,
			`{"m":"mail REDACTED-EMAIL-# or REDACTED-E164_PHONE_NUMBER-#, card REDACTED-CREDIT_CARD-#."}`},
		{"json escapes", "application/json", `{"m":"bob\u0040example.com\n\"","pass\u0077ord":"x"}`,
			`{"m":"REDACTED-EMAIL-#\n\"","pass\u0077ord":"REDACTED-#"}`},
		{"json in json", "application/json", `{"Message":"{\"password\":\"x\",\"a\":1}"}`,
			`{"Message":"{\"password\":\"REDACTED-#\",\"a\":1}"}`},
		{"json keys that are secrets", "application/json", `{"bob@example.com":{"n":1}}`, `{"REDACTED-EMAIL-#":{"n":1}}`},
		{"json lines", "application/x-ndjson", "{\"password\":\"a\"}\n{\"n\":1}\n", "{\"password\":\"REDACTED-#\"}\n{\"n\":1}\n"},
		{"json after a byte order mark", "application/json", "\ufeff{\"password\":\"a\"}", "\ufeff{\"password\":\"REDACTED-#\"}"},
		{"json called text", "text/plain", ` {"password":"a b c"}`, ` {"password":"REDACTED-#"}`},
		{"form", "application/x-www-form-urlencoded", "a=1&user%5Bpass%77ord%5D=x%20y&m=bob%40example.com+x&e=",
			"a=1&user%5Bpass%77ord%5D=REDACTED-#&m=REDACTED-EMAIL-#+x&e="},
		{"form, not encoded", "application/x-www-form-urlencoded", "p=+4915112345678&m=a+b@example.com&c=4111+1111+1111+1111",
			"p=REDACTED-E164_PHONE_NUMBER-#&m=REDACTED-EMAIL-#&c=REDACTED-CREDIT_CARD-#"},
		{"multipart", `multipart/form-data; boundary="b1"`,
			"--b1\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\np1\r\n--b1\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n" +
				"Content-Type: application/json\r\n\r\n{\"token\":\"t\"}\r\n--b1--\r\n",
			"--b1\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nREDACTED-#\r\n--b1\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n" +
				"Content-Type: application/json\r\n\r\n{\"token\":\"REDACTED-#\"}\r\n--b1--\r\n"},
		{"xml", "application/soap+xml", `<e:E apiKey='k' n="1"><w:Password t=">"> p </w:Password><a><![CDATA[bob@example.com]]></a><secret><b>x</b><c/>y</secret>z</e:E>`,
			`<e:E apiKey='REDACTED-#' n="1"><w:Password t=">"> REDACTED-# </w:Password><a><![CDATA[REDACTED-EMAIL-#]]></a>` +
				`<secret><b>REDACTED-#</b><c/>REDACTED-#</secret>z</e:E>`},
		{"cdata without an end", "text/xml", "<![CDATA[bob@example.com", "<![CDATA[REDACTED-EMAIL-#"},
		{"html that is lax", "text/html", "<p id=bob@example.com x password = 'p q' b=1></bob@example.com><br",
			"<p id=REDACTED-EMAIL-# x password = 'REDACTED-#' b=1></REDACTED-EMAIL-#><br"},
		{"text", "text/plain", "password: hunter2\nurl=postgres://u:p@db/x?sslkey=1&token=a%20b token.example.com:443 12:30 Authorization: Bearer abc",
			"password: REDACTED-#\nurl=postgres://REDACTED-#:REDACTED-#@db/x?sslkey=1&token=REDACTED-# token.example.com:443 12:30 Authorization: Bearer REDACTED-#"},
		{"text with tabs", "text/plain", "password\t:\thunter2\ttoken = 'a \\' b' c", "password\t:\tREDACTED-#\ttoken = 'REDACTED-#' c"},
		{"events", "text/event-stream", "event: x\ndata: {\"token\": \"a\"}\n\ndata: bob@example.com\n",
			"event: x\ndata: {\"token\": \"REDACTED-#\"}\n\ndata: REDACTED-EMAIL-#\n"},
		{"no type", "", "password=x", "password=REDACTED-#"},
		{"image", "image/png", "\x89PNG\x00password=x", "\x89PNG\x00password=x"},
		{"an image that is text", "image/svg+xml", `<svg><password>x</password></svg>`, `<svg><password>REDACTED-#</password></svg>`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := masker(t, mask.Standard())
			p := request(tt.contentType, tt.body)
			changed, err := m.Mask(p)
			if err != nil {
				t.Fatal(err)
			}
			got := string(p.Http.Req.Body)
			if tt.name == "json numbers" { // the rest is keyed digits
				if !strings.HasPrefix(got, tt.want) || strings.Contains(got, "4111111111111111") || !strings.HasSuffix(got, `,"n":4111111111111112}`) ||
					len(got) != len(tt.body) {
					t.Errorf("got %s", got)
				}
			} else if diff := cmp.Diff(tt.want, tokens(got)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if changed != (got != tt.body) || p.DlpModified != changed || changed && (p.DlpRule != "standard" || p.MaskKeyId != "k1") {
				t.Errorf("changed %v, marked %v by %q with %q", changed, p.DlpModified, p.DlpRule, p.MaskKeyId)
			}
			if h, _ := traffic.HeaderValue(p.Http.Req.Headers, "content-length"); h != fmt.Sprint(len(got)) || p.Http.Req.BodySize != int64(len(got)) {
				t.Errorf("Content-Length %s, body_size %d, want %d", h, p.Http.Req.BodySize, len(got))
			}
			before := proto.CloneOf(p)
			if again, err := m.Mask(p); err != nil || again || !proto.Equal(before, p) {
				t.Errorf("masking again: changed %v, error %v, body %s", again, err, p.Http.Req.Body)
			}
		})
	}
}

func TestEqualValuesStayEqual(t *testing.T) {
	const secret = "s3cr3t value"
	token := func(m *mask.Masker) map[string]string {
		found := map[string]string{}
		p := request("application/json", `{"a":{"password":"`+secret+`"}}`)
		p.Http.Req.Url = "http://h/x?password=s3cr3t%20value"
		p.Http.Req.Uri = "/x?password=s3cr3t+value"
		p.Session = secret
		p.Http.Req.Headers = append(p.Http.Req.Headers,
			&traffic.Header{Name: "X-Api-Key", Value: secret}, &traffic.Header{Name: "Authorization", Value: "Bearer " + secret},
			&traffic.Header{Name: "Cookie", Value: "a=" + secret},
			&traffic.Header{Name: "Proxy-Authorization", Value: "Basic " + base64.StdEncoding.EncodeToString([]byte("u:"+secret))})
		p.Http.Res.Headers = []*traffic.Header{{Name: "Set-Cookie", Value: "sid=" + secret + "; Path=/"}}
		p.Http.Res.Body = []byte("<x><password>" + secret + "</password></x>")
		p.Http.Res.ContentType = "text/xml"
		if _, err := m.Mask(p); err != nil {
			t.Fatal(err)
		}
		basic, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(p.Http.Req.Headers[5].Value, "Basic "))
		if err != nil {
			t.Fatal(err)
		}
		for place, s := range map[string]string{"json": string(p.Http.Req.Body), "url": p.Http.Req.Url, "uri": p.Http.Req.Uri, "session": p.Session,
			"header": p.Http.Req.Headers[2].Value, "bearer": p.Http.Req.Headers[3].Value, "cookie": p.Http.Req.Headers[4].Value,
			"basic":      string(basic[bytes.IndexByte(basic, ':'):]),
			"set-cookie": p.Http.Res.Headers[0].Value, "xml": string(p.Http.Res.Body)} {
			found[place] = hash.FindString(s)
		}
		return found
	}
	one := token(masker(t, mask.Standard()))
	want := one["json"]
	if !mask.IsMasked(want) {
		t.Fatalf("%q is not masked", want)
	}
	for place, got := range one {
		if got != want {
			t.Errorf("%s: %q, want %q", place, got, want)
		}
	}
	other, err := mask.New(mask.Standard(), mask.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	for place, got := range token(other) {
		if got == want || !mask.IsMasked(got) {
			t.Errorf("%s: another key gives %q, the first %q", place, got, want)
		}
	}
}

func TestHeadersAndURLs(t *testing.T) {
	tests := []struct{ name, value, want string }{
		{"Authorization", "Bearer abc", "Bearer REDACTED-#"},
		{"Authorization", "abc", "REDACTED-#"},
		{"Authorization", "Digest username=\"Mufasa\", realm=\"x\"", "Digest REDACTED-#"},
		{"X-Auth-Token", "abc", "REDACTED-#"},
		{"Cookie", `a=1; b="two"; REDACTED=3`, `a=REDACTED-#; b="REDACTED-#"; REDACTED=REDACTED-#`},
		{"Set-Cookie", "a=1; Path=/; HttpOnly", "a=REDACTED-#; Path=/; HttpOnly"},
		{"Referer", "https://u:p@h/a%40b.com/x?token=1&b=2#access_token=x", "https://REDACTED-#:REDACTED-#@h/REDACTED-EMAIL-#/x?token=REDACTED-#&b=2#access_token=REDACTED-#"},
		{"X-Original-Url", "/cb?code=1&client_secret=z", "/cb?code=1&client_secret=REDACTED-#"},
		{"X-Forwarded-For", "10.1.2.3", "10.1.2.3"},
		{"Date", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT"},
		{"Access-Control-Allow-Credentials", "true", "true"},
		{"X-Jwt", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "REDACTED-JWT-#"},
		{"X-Any", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "Bearer REDACTED-JWT-#"},
	}
	for _, tt := range tests {
		p := request("", "")
		p.Http.Req.Headers = []*traffic.Header{{Name: tt.name, Value: tt.value}}
		if strings.HasPrefix(tt.name, "Set") {
			p.Http.Req.Headers, p.Http.Res.Headers = nil, p.Http.Req.Headers
		}
		if _, err := masker(t, mask.Standard()).Mask(p); err != nil {
			t.Fatal(err)
		}
		got := append(p.Http.Req.Headers, p.Http.Res.Headers...)[0].Value
		if tokens(got) != tt.want {
			t.Errorf("%s: %s\n got %s\nwant %s", tt.name, tt.value, got, tt.want)
		}
	}
}

func TestPatterns(t *testing.T) {
	pem := "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"
	tests := []struct{ text, want string }{
		{"bob.b+x@mail.example.com", "REDACTED-EMAIL-#"},
		{"<bob@example.com>.", "<REDACTED-EMAIL-#>."},
		{"bob@localhost a@b.1 @x.com x@", "bob@localhost a@b.1 @x.com x@"},
		{"4111-1111-1111-1111 12/27", "REDACTED-CREDIT_CARD-# 12/27"},
		{"378282246310005", "REDACTED-CREDIT_CARD-#"},
		{"3782 822463 10005", "REDACTED-CREDIT_CARD-#"},
		{"4111111111111112 14111111111111111", "4111111111111112 14111111111111111"},
		{"id-1767225600000000000", "id-1767225600000000000"},
		{"DE89 3704 0044 0532 0130 00", "REDACTED-IBAN-#"},
		{"GB82WEST12345698765432,", "REDACTED-IBAN-#,"},
		{"GB82WEST12345698765433", "GB82WEST12345698765433"},
		{"078-05-1120", "REDACTED-SSN-#"},
		{"666-05-1120 900-05-1120 078-00-1120 078-05-0000 1078-05-1120 078-05-1120-1", "666-05-1120 900-05-1120 078-00-1120 078-05-0000 1078-05-1120 078-05-1120-1"},
		{"+1 (415) 555-2671", "REDACTED-E164_PHONE_NUMBER-#"},
		{"+4915112345678", "REDACTED-E164_PHONE_NUMBER-#"},
		{"08:00+0100 +1234", "08:00+0100 +1234"},
		{"a eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln.", "a REDACTED-JWT-#."},
		{"eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJIUzI1NiJ9"},
		{"k " + pem + " z", "k REDACTED-PRIVATE_KEY-# z"},
		{"-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----"},
		{"AKIAIOSFODNN7EXAMPLE", "REDACTED-AWS_ACCESS_KEY-#"},
		{"ghp_" + strings.Repeat("a1", 18), "REDACTED-GITHUB_TOKEN-#"},
		{"sk_live_" + strings.Repeat("a1", 12), "REDACTED-STRIPE_KEY-#"},
		{"xoxb-1234567890-abcdef", "REDACTED-SLACK_TOKEN-#"},
		{"sk-proj-" + strings.Repeat("Ab1_", 12), "REDACTED-API_KEY-#"},
		{"skip the sk-8 slope at AKIA", "skip the sk-8 slope at AKIA"},
	}
	m := masker(t, mask.Standard())
	for _, tt := range tests {
		body, _ := json.Marshal(map[string]string{"m": tt.text})
		for contentType, body := range map[string]string{"text/plain": tt.text, "application/json": string(body)} {
			p := request(contentType, body)
			if _, err := m.Mask(p); err != nil {
				t.Fatal(err)
			}
			got := string(p.Http.Req.Body)
			if contentType != "text/plain" {
				var doc map[string]string
				if err := json.Unmarshal(p.Http.Req.Body, &doc); err != nil {
					t.Fatal(err)
				}
				got = doc["m"]
			}
			if tokens(got) != tt.want {
				t.Errorf("%s\n got %s\nwant %s", tt.text, got, tt.want)
			}
		}
	}
}

func TestRulesByPlace(t *testing.T) {
	cfg := config(t, `{"id":"own","discoverPatterns":false,"redactlist":{"entries":{
		"http.req.body":["$.card.number","$.items[*].sku"],"http.res.body":["*"],"http.req.cookies":["sid"],"http.req.queryparams":["q"],"tags":["x"]}}}`)
	p := request("application/json", `{"card":{"number":"1","x":"bob@example.com"},"items":[{"sku":"a","number":"2"}],"sid":"s","q":"q"}`)
	p.Http.Req.Url = "/a?q=1&sid=2"
	p.Http.Req.Headers[0].Value = "application/json"
	p.Http.Req.Headers = append(p.Http.Req.Headers, &traffic.Header{Name: "Cookie", Value: "q=1; sid=2"})
	p.Http.Res.Body = []byte(`{"a":"b","n":[12345,true]}`)
	p.Http.Res.ContentType = "application/json"
	p.Tags = map[string]string{"x": "1", "y": "2"}
	if _, err := masker(t, cfg).Mask(p); err != nil {
		t.Fatal(err)
	}
	got := []string{string(p.Http.Req.Body), p.Http.Req.Url, p.Http.Req.Headers[2].Value, string(p.Http.Res.Body), p.Tags["x"] + p.Tags["y"]}
	want := []string{`{"card":{"number":"REDACTED-#","x":"bob@example.com"},"items":[{"sku":"REDACTED-#","number":"2"}],"sid":"s","q":"q"}`,
		"/a?q=REDACTED-#&sid=2", "q=1; sid=REDACTED-#", `{"a":"REDACTED-#","n":[10000,true]}`, "REDACTED-#2"}
	for i := range got {
		if tokens(got[i]) != want[i] {
			t.Errorf("got  %s\nwant %s", got[i], want[i])
		}
	}
	for contentType, want := range map[string]string{
		"application/x-www-form-urlencoded": "a=REDACTED-#&c=REDACTED-#",
		"text/plain":                        "REDACTED-#",
		"application/grpc":                  "\x00\x00\x00\x00\x23\n\x21REDACTED-#",
	} {
		whole := request("", "")
		whole.Http.Res.Body, whole.Http.Res.ContentType = []byte("a=b&c=d"), contentType
		if contentType == "application/grpc" {
			whole.Http.Res.Body = []byte(frame(0, message(1, "ab")))
		}
		if _, err := masker(t, cfg).Mask(whole); err != nil || tokens(string(whole.Http.Res.Body)) != want {
			t.Errorf("%s: got %q, want %q, %v", contentType, whole.Http.Res.Body, want, err)
		}
	}
	binary := request("image/png", "")
	binary.Http.Res.Body = []byte("\x89PNG\x00")
	binary.Http.Res.ContentType = "image/png"
	if _, err := masker(t, cfg).Mask(binary); err != nil || !mask.IsMasked(string(binary.Http.Res.Body)) {
		t.Errorf("a rule for the whole body leaves an image: %q, %v", binary.Http.Res.Body, err)
	}
}

func TestFailsClosed(t *testing.T) {
	const secret = "pl4nted"
	for name, p := range map[string]*traffic.RRPair{
		"json that is none":   request("application/json", `{"password":"`+secret+`"`),
		"json in utf-16":      request("application/json", "\xff\xfe{\x00\"\x00"+secret),
		"text in utf-16":      request("text/plain", "p\x00"+secret),
		"binary":              request("application/octet-stream", "\x00\xff"+secret),
		"deep json":           request("application/json", strings.Repeat("[", 5000)+`"`+secret+`"`+strings.Repeat("]", 5000)),
		"multipart, no end":   request("multipart/form-data; boundary=b", "--b\r\n\r\n"+secret),
		"multipart, no bound": request("multipart/form-data", secret),
	} {
		_, err := masker(t, mask.Standard()).Mask(p)
		if !errors.Is(err, mask.ErrNotUnderstood) {
			t.Errorf("%s: error %v, want ErrNotUnderstood", name, err)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error tells the secret: %v", name, err)
		}
		if r := p.Http.Req; len(r.Body) != 0 || !p.RequestCut() {
			t.Errorf("%s: the body is %q of %d bytes, want it emptied and marked as cut", name, r.Body, r.BodySize)
		}
	}
	quiet := masker(t, config(t, `{"id":"headers","redactlist":{"entries":{"http.req.headers":["x"]}}}`))
	if changed, err := quiet.Mask(request("application/json", `{"a`)); changed || err != nil {
		t.Errorf("without a rule for bodies: changed %v, error %v", changed, err)
	}
	cut := request("application/json", `{"password":"`+secret)
	cut.Http.Req.BodySize = 1 << 21
	if _, err := masker(t, mask.Standard()).Mask(cut); err != nil || len(cut.Http.Req.Body) != 0 || !cut.RequestCut() {
		t.Errorf("a cut body: %q, cut %v, error %v", cut.Http.Req.Body, cut.RequestCut(), err)
	}
	image := request("image/png", "\x89PNG\x00")
	image.Http.Req.BodySize = 1 << 21
	if _, err := masker(t, mask.Standard()).Mask(image); err != nil || len(image.Http.Req.Body) == 0 {
		t.Errorf("a cut image: %q, error %v", image.Http.Req.Body, err)
	}
}

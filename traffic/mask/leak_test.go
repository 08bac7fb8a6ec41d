package mask_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/mask"
)

// secretForms are the ways in which a secret can stand in bytes.
func secretForms(secret string) []string {
	forms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), hex.EncodeToString([]byte(secret))}
	for shift := range 3 { // base64 of a longer text holds one of these
		b := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
		forms = append(forms, b[4:len(b)-4])
	}
	return forms
}

// mustNotHold fails if the pair, in any form that it is kept in, holds the secret.
func mustNotHold(t *testing.T, p *traffic.RRPair, secret string) {
	t.Helper()
	wire, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range secretForms(secret) {
		for _, b := range [][]byte{wire, text, p.GetHttp().GetReq().GetBody(), p.GetHttp().GetRes().GetBody()} {
			if i := bytes.Index(b, []byte(form)); i >= 0 {
				t.Errorf("the secret is there as %q: …%q…", form, b[max(0, i-40):min(len(b), i+len(form)+20)])
				return
			}
		}
	}
}

func TestNoSecretSurvives(t *testing.T) {
	// A value that no pattern knows, so that keys alone protect it, and values
	// that stand under no key, so that patterns alone do.
	const keyed = "pl4nted value/1"
	places := map[string]func(p *traffic.RRPair, s string){
		"header":        func(p *traffic.RRPair, s string) { addHeader(p, "X-Api-Key", s) },
		"authorization": func(p *traffic.RRPair, s string) { addHeader(p, "Authorization", s) },
		"bearer":        func(p *traffic.RRPair, s string) { addHeader(p, "Authorization", "Bearer "+s) },
		"basic user": func(p *traffic.RRPair, s string) {
			addHeader(p, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(s+":x")))
		},
		"basic password": func(p *traffic.RRPair, s string) {
			addHeader(p, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("us:"+s)))
		},
		"cookie":     func(p *traffic.RRPair, s string) { addHeader(p, "cookie", "a=b; c="+url.PathEscape(s)) },
		"referer":    func(p *traffic.RRPair, s string) { addHeader(p, "Referer", "http://h/?token="+url.QueryEscape(s)) },
		"header url": func(p *traffic.RRPair, s string) { addHeader(p, "X-Url", "http://h/?a=b&token="+url.QueryEscape(s)) },
		"set-cookie": func(p *traffic.RRPair, s string) {
			p.Http.Res.Headers = append(p.Http.Res.Headers, &traffic.Header{Name: "Set-Cookie", Value: "id=" + s + "; Path=/"})
		},
		"trailer": func(p *traffic.RRPair, s string) {
			p.Http.Res.Trailers = append(p.Http.Res.Trailers, &traffic.Header{Name: "X-Secret", Value: s})
		},
		"query": func(p *traffic.RRPair, s string) {
			q := "/x?password=" + url.QueryEscape(s) + "&a=b"
			p.Http.Req.Url, p.Http.Req.Uri, p.Location = "http://h"+q, q, q
		},
		"userinfo": func(p *traffic.RRPair, s string) { p.Http.Req.Url = "http://u:" + url.PathEscape(s) + "@h/x" },
		"fragment": func(p *traffic.RRPair, s string) { p.Http.Req.Url = "http://h/x#access_token=" + url.QueryEscape(s) },
		"session":  func(p *traffic.RRPair, s string) { p.Session = s },
		"tag":      func(p *traffic.RRPair, s string) { p.Tags = map[string]string{"apiKey": s} },
		"signature": func(p *traffic.RRPair, s string) {
			p.Signature = map[string][]byte{"http:qp:password": []byte(s), "http:requestBodyJSON": []byte(`{"password":"` + s + `"}`),
				"http:queryparams": []byte("?a=b&token=" + url.QueryEscape(s))}
		},
		"json":         bodies("application/json", `{"a":[{"password":%q}]}`),
		"json deep":    bodies("application/json", `{"secret":{"b":[[%q]]}}`),
		"json escaped": bodies("application/json", `{"p\u0061ssword":%q}`),
		"json text":    bodies("application/vnd.api+json", `{"m":"{\"token\":\"%s\"}"}`),
		"form": func(p *traffic.RRPair, s string) {
			bodies("application/x-www-form-urlencoded", "a=b&password=%s")(p, url.QueryEscape(s))
		},
		"xml":       bodies("text/xml", `<a><password>%s</password></a>`),
		"attribute": bodies("text/xml", `<a password="%s"/>`),
		"multipart": bodies("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=password\r\n\r\n%s\r\n--b--"),
		"text":      bodies("text/plain", `password="%s"`),
	}
	patterns := map[string]string{"card": "4111111111111111", "email": "pl4nted@example.com", "iban": "DE89370400440532013000", "ssn": "078-05-1120",
		"phone": "+4915112345678", "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnc2lnc2ln", "aws": "AKIAIOSFODNN7EXAMPLE"}
	free := map[string]func(p *traffic.RRPair, s string){
		"header": func(p *traffic.RRPair, s string) { addHeader(p, "X-Any", "is "+s) },
		"path": func(p *traffic.RRPair, s string) {
			p.Http.Req.Uri, p.Location = "/u/"+url.PathEscape(s)+"/x", "/u/"+s+"/x"
		},
		"query":      func(p *traffic.RRPair, s string) { p.Http.Req.Uri = "/u?q=" + url.QueryEscape(s) },
		"query name": func(p *traffic.RRPair, s string) { p.Http.Req.Uri = "/u?" + url.QueryEscape(s) },
		"host":       func(p *traffic.RRPair, s string) { p.Http.Req.Host = s },
		"status":     func(p *traffic.RRPair, s string) { p.Http.Res.StatusMessage = "no " + s },
		"session":    func(p *traffic.RRPair, s string) { p.Session = s },
		"tag":        func(p *traffic.RRPair, s string) { p.Tags = map[string]string{"x": s} },
		"json":       bodies("application/json", `{"a":["is %s."]}`),
		"json key":   bodies("application/json", `{%q:1}`),
		"form": func(p *traffic.RRPair, s string) {
			bodies("application/x-www-form-urlencoded", "a=%s")(p, url.QueryEscape(s))
		},
		"form plain": bodies("application/x-www-form-urlencoded", "a=%s"),
		"xml":        bodies("text/xml", `<a b='%[1]s'>%[1]s</a>`),
		"html":       bodies("text/html", `<!-- %s --><p>`),
		"text":       bodies("text/csv", "a,%s,b\n"),
		"multipart":  bodies("multipart/mixed; boundary=b", "--b\r\n\r\n%s\r\n--b--"),
		"events":     bodies("text/event-stream", "data: {\"a\":\"%s\"}\n\n"),
	}
	m := masker(t, mask.Standard())
	check := func(name, secret string, plant func(*traffic.RRPair, string)) {
		t.Run(name, func(t *testing.T) {
			p := request("", "")
			plant(p, secret)
			if changed, err := m.Mask(p); err != nil || !changed {
				t.Fatalf("changed %v, error %v", changed, err)
			}
			mustNotHold(t, p, secret)
		})
	}
	for place, plant := range places {
		check("key/"+place, keyed, plant)
	}
	for place, plant := range free {
		for name, secret := range patterns {
			check(name+"/"+place, secret, plant)
		}
	}
}

func addHeader(p *traffic.RRPair, name, value string) {
	p.Http.Req.Headers = append(p.Http.Req.Headers, &traffic.Header{Name: name, Value: value})
}

// bodies plants a secret in the bodies of both messages.
func bodies(contentType, format string) func(*traffic.RRPair, string) {
	return func(p *traffic.RRPair, s string) {
		b := []byte(fmt.Sprintf(format, s))
		p.Http.Req.Body, p.Http.Req.BodySize, p.Http.Req.Headers[0].Value = b, int64(len(b)), contentType
		p.Http.Res.Body, p.Http.Res.BodySize, p.Http.Res.ContentType = bytes.Clone(b), int64(len(b)), contentType
	}
}

func TestMaskIsSafeForConcurrentUse(t *testing.T) {
	m := masker(t, mask.Standard())
	want := typical()
	if _, err := m.Mask(want); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				p := typical()
				if _, err := m.Mask(p); err != nil || !proto.Equal(p, want) {
					t.Errorf("differs: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestKeyIsNeverShown(t *testing.T) {
	k := mask.Key{ID: "k1", Secret: []byte("very-secret-very-secret")}
	m, err := mask.New(mask.Standard(), k)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	logger.Info("x", "key", k, "ptr", &k, "in", struct{ K mask.Key }{k})
	out := log.String()
	for _, v := range []any{k, &k, struct{ K mask.Key }{k}, m} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			out += fmt.Sprintf(verb, v)
		}
	}
	b, err := json.Marshal(map[string]any{"k": k, "c": m.Config()})
	if err != nil {
		t.Fatal(err)
	}
	out += string(b) + string(m.ConfigJSON())
	for _, form := range append(secretForms("very-secret-very-secret"), "118 101 114 121 45 ") {
		if strings.Contains(out, form) {
			t.Errorf("the key is shown as %q", form)
		}
	}
	if !strings.Contains(out, "k1") {
		t.Error("the id of the key is not shown")
	}
}

func TestNew(t *testing.T) {
	if _, err := mask.New(mask.Standard(), mask.Key{ID: "x", Secret: []byte("short")}); err == nil || strings.Contains(err.Error(), "short,") {
		t.Errorf("a short key: %v", err)
	}
	a, b := mask.NewKey(), mask.NewKey()
	if a.ID == b.ID || bytes.Equal(a.Secret, b.Secret) || len(a.Secret) != 32 {
		t.Error("keys are not random")
	}
}

func TestMatchesWithoutTheKey(t *testing.T) {
	p := request("application/json", `{"password":"hunter2","mail":"to bob@example.com, ok"}`)
	plain := string(p.Http.Req.Body)
	if _, err := masker(t, mask.Standard()).Mask(p); err != nil {
		t.Fatal(err)
	}
	masked := string(p.Http.Req.Body)
	for other, want := range map[string]bool{
		plain:                                    true,
		masked:                                   true,
		`{"password":"other","mail":"to x, ok"}`: true,
		`{"password":"hunter2","mail":"to bob, no"}`: false,
		`{"password":"","mail":"to bob, ok"}`:        false,
		`{"user":"hunter2","mail":"to bob, ok"}`:     false,
	} {
		if got := mask.Matches(masked, other); got != want {
			t.Errorf("Matches(%s, %s) = %v, want %v", masked, other, got, want)
		}
	}
	token := hash.FindString(masked)
	for value, want := range map[string]bool{token: true, token + "x": false, "x" + token: false, "REDACTED-1": false, "": false} {
		if mask.IsMasked(value) != want {
			t.Errorf("IsMasked(%q) = %v", value, !want)
		}
	}
}

func TestParseConfig(t *testing.T) {
	for data, want := range map[string]string{
		`{`:                          "unexpected EOF",
		`{}`:                         "id: is empty",
		`{"id":"x","ids":1}`:         `unknown field "ids"`,
		`{"id":"x","transforms":[]}`: "transforms: not supported",
		`{"id":"x"} y`:               "there is more after the value",
		`{"id":"x","redactlist":{"entries":{"http.body":["a"]}}}`:          `redactlist.entries["http.body"]: not a place`,
		`{"id":"x","redactlist":{"entries":{"all":["a","b*c"]}}}`:          `redactlist.entries["all"][1]: "b*c": a star`,
		`{"id":"x","redactlist":{"entries":{"all":["_"]}}}`:                `redactlist.entries["all"][0]: "_" names nothing`,
		`{"id":"x","redactlist":{"entries":{"tags":["$.a"]}}}`:             `redactlist.entries["tags"][0]: "$.a": a JSON path is for a body`,
		`{"id":"x","redactlist":{"entries":{"http.req.body":["$.a[x]"]}}}`: `redactlist.entries["http.req.body"][0]: JSON path`,
		`{"id":"x","redactlist":{"entries":{"http.req.body":[1]}}}`:        "cannot unmarshal number",
		`{"id":"x","patterns":["EMAIL","NO"]}`:                             `patterns[1]: "NO" is not a pattern`,
	} {
		if _, err := mask.ParseConfig([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", data, err, want)
		}
	}
	m := masker(t, mask.Standard())
	again := config(t, string(m.ConfigJSON()))
	if string(masker(t, again).ConfigJSON()) != string(m.ConfigJSON()) {
		t.Error("the rules do not read back")
	}
	only := masker(t, config(t, `{"id":"x","discoverPatterns":true,"patterns":["DATA_PATTERN_EMAIL"]}`))
	p := request("text/plain", "bob@example.com 4111111111111111")
	if _, err := only.Mask(p); err != nil || tokens(string(p.Http.Req.Body)) != "REDACTED-EMAIL-# 4111111111111111" {
		t.Errorf("got %s, %v", p.Http.Req.Body, err)
	}
}

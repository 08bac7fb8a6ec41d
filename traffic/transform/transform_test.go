package transform_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/transform"
)

var recordedAt = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func order() *traffic.RRPair {
	body := `{"when":"2026-11-01T10:00:00.250Z","items":[{"sku":"a-1"},{"sku":"b-2","n":2}],"text":"eyJhIjoib2xkIn0"}`
	answer := `{"id":"id-recorded","at":1793534400}`
	return &traffic.RRPair{
		Ts: recordedAt.UnixNano(), Service: "shop", Command: "POST", Location: "/orders/7",
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{
				Method: "POST", Uri: "/orders/7?day=2026-11-01&q=a%20b", Host: "shop",
				Headers: []*traffic.Header{{Name: "Authorization", Value: "Bearer REDACTED-JWT-0123456789abcdef01234567"}, {Name: "Cookie", Value: "a=1; sid=old; b=2"}},
				Body:    []byte(body), BodySize: int64(len(body)),
			},
			Res: &traffic.HTTPResponse{StatusCode: 200, Headers: []*traffic.Header{{Name: "Set-Cookie", Value: "sid=fresh; Path=/"}}, Body: []byte(answer), BodySize: int64(len(answer))},
		},
	}
}

func environment(t testing.TB) transform.Environment {
	dir := t.TempDir()
	os.Mkdir(filepath.Join(dir, "jwt-key"), 0o700)
	if err := os.WriteFile(filepath.Join(dir, "jwt-key", "hmac"), []byte("very secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	der, _ := x509.MarshalPKCS8PrivateKey(key)
	os.WriteFile(filepath.Join(dir, "jwt-key", "ed.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	return transform.Environment{
		Secrets: dir,
		Getenv:  func(name string) (string, bool) { return "value of " + name, name != "NONE" },
		Now:     func() time.Time { return recordedAt.Add(48*time.Hour + time.Minute) },
	}
}

func generatorSet(t testing.TB, doc string) *transform.Set {
	t.Helper()
	c, err := transform.Parse([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.GeneratorSet(environment(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// chainOf is a document with one chain.
func chainOf(extractor, steps string) string {
	return `{"generator":[{"extractor":` + extractor + `,"transforms":[` + steps + `]}]}`
}

func TestChains(t *testing.T) {
	const body = `{"type":"req_body"}`
	req := func(p *traffic.RRPair) string { return string(p.Http.Req.Body) }
	uri := func(p *traffic.RRPair) string { return p.Http.Req.Uri }
	field := func(i int) func(*traffic.RRPair) string {
		return func(p *traffic.RRPair) string { return p.Http.Req.Headers[i].Value }
	}
	for name, tt := range map[string]struct {
		doc  string
		of   func(p *traffic.RRPair) string
		want string
	}{
		"date by the age of the recording": {chainOf(body, `{"type":"json_path","config":{"path":"$.when"}},{"type":"date"}`), req, `"when":"2026-11-03T10:01:00.250Z"`},
		"date by whole days":               {chainOf(`{"type":"http_queryparam","config":{"name":"day"}}`, `{"type":"date","config":{"precision":"24h"}}`), uri, "/orders/7?day=2026-11-03&q=a%20b"},
		"date by an offset":                {chainOf(`{"type":"http_queryparam","config":{"name":"day"}}`, `{"type":"date","config":{"layout":"2006-01-02","offset":"-1d"}}`), uri, "day=2026-10-31&"},
		"JSON inside base64":               {chainOf(body, `{"type":"json_path","config":{"path":"text"}},{"type":"base64"},{"type":"json_path","config":{"path":"a"}},{"type":"constant","config":{"new":"\"new\""}}`), req, `"text":"eyJhIjoiXCJuZXdcIiJ9"`},
		"a number stays one":               {chainOf(body, `{"type":"json_path","config":{"path":"items[1].n"}},{"type":"constant","config":{"new":"5"}}`), req, `{"sku":"b-2","n":5}`},
		"regex":                            {chainOf(body, `{"type":"regex","config":{"pattern":"sku\":\"(b-[0-9])"}},{"type":"replace","config":{"old":"b-","new":"c+"}}`), req, `[{"sku":"a-1"},{"sku":"c+2","n":2}]`},
		"split":                            {chainOf(`{"type":"http_url"}`, `{"type":"split","config":{"separator":"?","index":"0"}},{"type":"split","config":{"separator":"/","index":"-1"}},{"type":"constant","config":{"new":"8"}}`), uri, "/orders/8?day"},
		"a segment":                        {chainOf(`{"type":"http_url","config":{"index":"1"}}`, `{"type":"constant","config":{"new":"x y/z"}}`), uri, "/orders/x%20y%2Fz?day"},
		"trim":                             {chainOf(`{"type":"http_req_header","config":{"name":"authorization"}}`, `{"type":"trim","config":{"type":"prefix","value":"Bearer "}},{"type":"constant","config":{"new":"t"}}`), field(0), "Bearer t"},
		"cookie":                           {chainOf(`{"type":"http_req_cookie","config":{"name":"sid"}}`, `{"type":"constant","config":{"new":"${{secret:jwt-key/hmac}}"}}`), field(1), "a=1; sid=very secret; b=2"},
		"environment":                      {chainOf(`{"type":"http_req_cookie","config":{"name":"sid"}}`, `{"type":"constant","config":{"new":"x-${{env_var:E}}-${{later}}"}}`), field(1), "sid=x-value of E-${{later}}; b"},
		"url_decode":                       {chainOf(`{"type":"http_url"}`, `{"type":"regex","config":{"pattern":"q=(.*)"}},{"type":"url_decode"},{"type":"replace","config":{"old":"a b","new":"c d"}}`), uri, "q=c+d"},
		"one_of":                           {chainOf(`{"type":"http_req_cookie","config":{"name":"sid"}}`, `{"type":"one_of","config":{"options":"one, two","strategy":"sequential"}}`), field(1), "sid=one;"},
		"scrub":                            {chainOf(body, `{"type":"scrub","config":{"new":"x","ignorePaths":"when,$.items[0]"}}`), req, `{"when":"2026-11-01T10:00:00.250Z","items":[{"sku":"a-1"},{"sku":"x","n":"x"}],"text":"x"}`},
		"a filter that matches":            {strings.Replace(chainOf(`{"type":"http_req_cookie","config":{"name":"sid"}}`, `{"type":"constant","config":{"new":"n"}}`), `{"extractor"`, `{"filters":"location CONTAINS \"/orders\"","extractor"`, 1), field(1), "sid=n"},
		"a filter that does not":           {strings.Replace(chainOf(`{"type":"http_req_cookie","config":{"name":"sid"}}`, `{"type":"constant","config":{"new":"n"}}`), `{"extractor"`, `{"filters":{"conditions":[{"filters":[{"include":true,"operator":"EQUAL","service":"other"}]}]},"extractor"`, 1), field(1), "sid=old"},
		"a variable that is set before": {`{"generatorVariables":[{"name":"v","config":{"extractor":{"type":"empty"},"transforms":[{"type":"constant","config":{"new":"first"}}]}}],
			"generator":[{"extractor":{"type":"http_req_cookie","config":{"name":"sid"}},"transforms":[{"type":"var_load","config":{"name":"v"}}]}]}`, field(1), "sid=first;"},
	} {
		t.Run(name, func(t *testing.T) {
			s := generatorSet(t, tt.doc)
			p := order()
			sent := transform.Own(p)
			outcomes := s.For(p).Request(s.NewVars(), sent)
			if got := tt.of(sent); !strings.Contains(got, tt.want) {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
			for _, o := range outcomes {
				if o.Missing != "" {
					t.Errorf("%+v %+v", o, *o.Route)
				}
			}
			if diff := cmp.Diff(order().Http.Req.String(), p.Http.Req.String()); diff != "" {
				t.Errorf("the recorded request changed: %s", diff)
			}
		})
	}
}

func TestTokensAreSignedAnew(t *testing.T) {
	for key, method := range map[string]jwt.SigningMethod{"hmac": jwt.SigningMethodHS256, "ed.pem": jwt.SigningMethodEdDSA} {
		s := generatorSet(t, chainOf(`{"type":"http_req_header","config":{"name":"Authorization"}}`,
			`{"type":"jwt_resign","config":{"secretPath":"jwt-key/`+key+`","sub":"${{env_var:USER}}","claims":"{\"role\":\"admin\"}","kid":"k1"}}`))
		for _, old := range []string{"Bearer REDACTED-JWT-0123456789abcdef01234567", "Bearer " + hs512(t)} {
			p := order()
			p.Http.Req.Headers[0].Value = old
			sent := transform.Own(p)
			s.For(p).Request(s.NewVars(), sent)
			text, ok := strings.CutPrefix(sent.Http.Req.Headers[0].Value, "Bearer ")
			token, _, err := jwt.NewParser().ParseUnverified(text, jwt.MapClaims{})
			if !ok || err != nil {
				t.Fatalf("%q: %v", sent.Http.Req.Headers[0].Value, err)
			}
			claims := token.Claims.(jwt.MapClaims)
			now := recordedAt.Add(48*time.Hour + time.Minute).Unix()
			if claims["sub"] != "value of USER" || claims["role"] != "admin" || claims["iat"] != float64(now) || claims["exp"] != float64(now+48*3600) || token.Header["kid"] != "k1" {
				t.Errorf("%s: %v %v", key, token.Header, claims)
			}
			kept := !strings.Contains(old, "REDACTED")
			if (claims["shop"] == "north") != kept {
				t.Errorf("%s: %v", key, claims)
			}
			if want := method; kept && key == "hmac" {
				if token.Method.Alg() != "HS512" {
					t.Errorf("signed by %s, in place of HS512", token.Method.Alg())
				}
			} else if token.Method != want {
				t.Errorf("signed by %s", token.Method.Alg())
			}
			if key == "hmac" {
				if _, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return []byte("very secret"), nil }, jwt.WithTimeFunc(func() time.Time { return recordedAt.Add(50 * time.Hour) })); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// hs512 is a token that ended long ago.
func hs512(t *testing.T) string {
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS512, jwt.MapClaims{"exp": 1, "shop": "north", "sub": "eve"}).SignedString([]byte("another key"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestResponsesGiveVariablesAndReplacements(t *testing.T) {
	s := generatorSet(t, `{"generator":[
		{"extractor":{"type":"http_res_cookie","config":{"name":"sid"}},"transforms":[{"type":"var_store","config":{"name":"sid"}}]},
		{"extractor":{"type":"res_body"},"transforms":[{"type":"json_path","config":{"path":"id"}},{"type":"smart_replace"}]},
		{"extractor":{"type":"res_body"},"transforms":[{"type":"json_path","config":{"path":"at"}},{"type":"constant","config":{"new":"0"}}]},
		{"extractor":{"type":"http_req_cookie","config":{"name":"sid"}},"transforms":[{"type":"var_load","config":{"name":"sid"}}]}]}`)
	p := order()
	chains, vars := s.For(p), s.NewVars()
	sent := transform.Own(p)
	if outcomes := chains.Request(vars, sent); outcomes[0].Missing != "no_variable_sid" || sent.Http.Req.Headers[1].Value != "a=1; sid=old; b=2" {
		t.Errorf("%+v", outcomes)
	}
	observed := transform.Own(p)
	observed.Http.Res.Headers[0] = &traffic.Header{Name: "Set-Cookie", Value: "sid=s2"}
	observed.Http.Res.Body = []byte(`{"id":"id-observed","at":99}`)
	observed.Http.Res.BodySize = int64(len(observed.Http.Res.Body))
	chains.Response(vars, observed)
	recorded := transform.Own(p)
	chains.Recorded(s.NewVars(), recorded)
	if got := string(observed.Http.Res.Body) + string(recorded.Http.Res.Body); got != `{"id":"id-observed","at":0}{"id":"id-recorded","at":0}` {
		t.Error(got)
	}
	next := transform.Own(p)
	next.Http.Req.Uri = "/orders/id-recorded"
	next.Http.Req.Body = []byte(`{"all":["id-recorded"]}`)
	chains.Request(vars, next)
	if got := next.Http.Req.Uri + " " + next.Http.Req.Headers[1].Value + " " + string(next.Http.Req.Body); got != `/orders/id-observed a=1; sid=s2; b=2 {"all":["id-observed"]}` {
		t.Error(got)
	}
}

// What cannot be changed stays, and the reason has nothing of the value.
func TestFailuresHaveAReason(t *testing.T) {
	for steps, want := range map[string]string{
		`{"type":"json_path","config":{"path":"a"}}`: "not_json",
		`{"type":"date"}`:   "not_a_date",
		`{"type":"base64"}`: "not_of_the_encoding",
		`{"type":"regex","config":{"pattern":"(x+)"}}`:          "no_value",
		`{"type":"constant","config":{"new":"a\r\nEvil: yes"}}`: "cannot_stand_here",
		`{"type":"var_load","config":{"name":"none"}}`:          "no_variable_none",
	} {
		s := generatorSet(t, chainOf(`{"type":"http_req_cookie","config":{"name":"sid"}}`, steps))
		p := order()
		if s.For(&traffic.RRPair{Http: &traffic.HTTP{Req: &traffic.HTTPRequest{}}}) != nil {
			t.Error("a chain applies to a request without its value")
		}
		sent := transform.Own(p)
		outcomes := s.For(p).Request(s.NewVars(), sent)
		if outcomes[0].Missing != want || sent.Http.Req.Headers[1].Value != "a=1; sid=old; b=2" {
			t.Errorf("%s: %+v", steps, outcomes[0])
		}
	}
}

func TestWhatIsWrongIsNamedByItsPath(t *testing.T) {
	env := environment(t)
	for doc, want := range map[string]string{
		`{"generator":[{"extractor":{"type":"req_bdy"}}]}`:                                        `generator[0].extractor.type: "req_bdy" is not supported: use empty, file, http_queryparam`,
		chainOf(`{"type":"http_url","config":{"index":"first"}}`, ``):                             `generator[0].extractor.config.index: "first": want a number from 0`,
		chainOf(`{"type":"req_body"}`, `{"type":"aws_auth"}`):                                     `generator[0].transforms[0].type: "aws_auth" is not supported: use base64, constant, date, gzip, json_path, jwt_resign`,
		chainOf(`{"type":"req_body"}`, `{"type":"constant","config":{"neww":"x"}}`):               `generator[0].transforms[0].config.neww: is not known to constant; what is: new`,
		chainOf(`{"type":"http_req_header"}`, ``):                                                 `generator[0].extractor.config.name: is missing`,
		chainOf(`{"type":"req_body"}`, `{"type":"regex","config":{"pattern":"("}}`):               `generator[0].transforms[0].config.pattern: error parsing regexp`,
		chainOf(`{"type":"req_body"}`, `{"type":"jwt_resign"}`):                                   `config.secretPath: want either secretPath (NAME/KEY) or key`,
		chainOf(`{"type":"req_body"}`, `{"type":"jwt_resign","config":{"secretPath":"../x/y"}}`):  `config.secretPath: secret "../x/y": want NAME/KEY`,
		chainOf(`{"type":"req_body"}`, `{"type":"constant","config":{"new":"${{dataframe:x}}"}}`): `"dataframe" is not supported in ${{}}`,
		`{"generator":[{"filters":"nonsense","extractor":{"type":"req_body"}}]}`:                  `generator[0].filters: `,
		`{"generators":[]}`: `unknown field "generators"`,
		`{"responderVariables":[{"name":"x","config":{"extractor":{"type":"req_body"}}}]}`:                      `responderVariables[0].config.extractor.type: "req_body": a variable is set before there is traffic`,
		chainOf(`{"type":"req_body"}`, `{"type":"rand_string","config":{"pattern":"((a{1000}){1000}){1000}"}}`): `config.pattern: `,
		chainOf(`{"type":"req_body"}`, `{"type":"constant","config":{"new":"${{secret:jwt-key/none}}"}}`):       `secret "jwt-key/none" is not at`,
		chainOf(`{"type":"req_body"}`, `{"type":"constant","config":{"new":"${{env_var:NONE}}"}}`):              `the environment has no variable "NONE"`,
	} {
		c, err := transform.Parse([]byte(doc))
		if err == nil {
			_, err = c.GeneratorSet(env)
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "very secret") {
			t.Errorf("%s\n got %v\nwant %s", doc, err, want)
		}
	}
}

func TestRandomTextsMatchTheirPattern(t *testing.T) {
	for _, pattern := range []string{"[a-f0-9]{8}-x", "(one|two)+", "[^a-z]{3}", `\d+\.\d{2}`, ".?y", "[äöü]{4}"} {
		doc, _ := json.Marshal(pattern)
		s := generatorSet(t, chainOf(`{"type":"http_req_cookie","config":{"name":"sid"}}`, fmt.Sprintf(`{"type":"rand_string","config":{"pattern":%s}}`, doc)))
		for range 50 {
			p := order()
			sent := transform.Own(p)
			s.For(p).Request(s.NewVars(), sent)
			value := strings.TrimSuffix(strings.TrimPrefix(sent.Http.Req.Headers[1].Value, "a=1; sid="), "; b=2")
			if value != "old" && !regexp.MustCompile("^(?:"+pattern+")$").MatchString(value) {
				t.Fatalf("%q does not match %s", value, pattern)
			}
		}
	}
}

// FuzzParse takes whatever is a document; what is one runs without a panic, whatever
// the request is, and its JSON is one too.
func FuzzParse(f *testing.F) {
	f.Add([]byte(chainOf(`{"type":"req_body"}`, `{"type":"json_path","config":{"path":"$.when"}},{"type":"date"}`)), "/orders/7?day=2026-11-01", `{"a":1}`)
	f.Add([]byte(chainOf(`{"type":"http_url","config":{"index":"1"}}`, `{"type":"rand_string","config":{"pattern":"[^a]{3}|b*"}}`)), "http://h", "")
	f.Add([]byte(chainOf(`{"type":"http_queryparam","config":{"name":"a"}}`, `{"type":"regex","config":{"pattern":"(x)|y"}},{"type":"url_encode"}`)), "/?a=y#", "")
	f.Add([]byte(chainOf(`{"type":"http_req_cookie","config":{"name":"sid"}}`, `{"type":"trim"},{"type":"split","config":{"separator":"."}},{"type":"base64","config":{"pad":"true"}},{"type":"scrub"}`)), "/", "")
	f.Fuzz(func(t *testing.T, doc []byte, uri, body string) {
		c, err := transform.Parse(doc)
		if err != nil {
			return
		}
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := transform.Parse(text); err != nil {
			t.Fatalf("%s becomes %s: %v", doc, text, err)
		}
		s, err := c.GeneratorSet(transform.Environment{Secrets: "/nonexistent", Getenv: func(string) (string, bool) { return "", true }})
		if err != nil {
			return
		}
		p := order()
		p.Http.Req.Uri, p.Http.Req.Body, p.Http.Req.BodySize = uri, []byte(body), int64(len(body))
		a, vars := s.For(p), s.NewVars()
		a.Request(vars, transform.Own(p))
		a.Response(vars, transform.Own(p))
	})
}

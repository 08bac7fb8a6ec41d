package generator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/agents/generator"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/transform"
)

func masked(t testing.TB, list []*traffic.RRPair) (*mask.Masker, []*traffic.RRPair) {
	m, err := mask.New(mask.Standard(), mask.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if _, err := m.Mask(p); err != nil {
			t.Fatal(err)
		}
	}
	return m, list
}

// replayed sends recorded pairs to another instance.
func replayed(t testing.TB, addr string, o generator.Options) (*report.Report, []string) {
	var f failures
	b := report.NewBuilder(nil, report.Options{})
	o.Target, o.Report, o.Observe, o.RewriteHost = target(t, addr), b, f.observe, true
	o.Comparer = compare.New(compare.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := generator.Run(ctx, o); err != nil {
		t.Fatal(err)
	}
	return b.Finish(), f.list
}

func TestValuesOfResponsesAreCarriedOver(t *testing.T) {
	_, recorded := startShop(t, 40)
	list := visit(t, recorded)
	plain := make([]*traffic.RRPair, len(list))
	for i, p := range list {
		plain[i] = clone(p)
	}
	masker, hidden := masked(t, list)
	for name, o := range map[string]generator.Options{
		"as recorded": {Actions: pairs(plain...)},
		"masked":      {Actions: pairs(hidden...), Masker: masker},
		"users":       {Actions: pairs(hidden...), Masker: masker, Plan: generator.Plan{VUs: 3, Times: 2}},
		"fast":        {Actions: pairs(hidden...), Masker: masker, Plan: generator.Plan{Rate: 2000, Times: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			_, addr := startShop(t, 7000)
			r, failed := replayed(t, addr, o)
			if len(failed) > 0 || r.Status != report.Passed {
				t.Errorf("%s: %q", r.Status, failed)
			}
			for _, c := range r.Carried {
				if c.Count == 0 || c.Missing != nil {
					t.Errorf("%+v", c)
				}
			}
			if name == "masked" {
				if diff := cmp.Diff(shopRoutes, routes(r)); diff != "" {
					t.Error(diff)
				}
			}
			o.AsRecorded = true
			if _, failed := replayed(t, addr, o); len(failed) < 6 {
				t.Errorf("without carrying over only these fail: %q", failed)
			}
		})
	}
}

var shopRoutes = []string{
	"GET /form http.res.body to GET /form http.res.body",
	"GET /form http.res.body to POST /form http.req.body.csrf",
	"POST /login http.res.body.access_token to GET /me http.req.headers.Authorization",
	"POST /login http.res.body.access_token to GET /orders http.req.headers.Authorization",
	"POST /login http.res.body.access_token to GET /orders/{id} http.req.headers.Authorization",
	"POST /login http.res.body.access_token to POST /login http.res.body.access_token",
	"POST /login http.res.body.access_token to POST /orders http.req.headers.Authorization",
	"POST /login http.res.cookies.sid to GET /form http.req.cookies.sid",
	"POST /login http.res.cookies.sid to POST /form http.req.cookies.sid",
	"POST /orders http.res.body.ref to GET /orders http.req.queryparams.ref",
	"POST /orders http.res.body.ref to GET /orders/{id} http.res.body.ref",
	"POST /orders http.res.body.ref to GET /orders/{id} http.res.body.self",
	"POST /orders http.res.body.ref to POST /orders http.res.body.ref",
	"POST /orders http.res.headers.Location to GET /orders/{id} http.req.url",
	"POST /orders http.res.headers.Location to GET /orders/{id} http.res.body.id",
	"POST /orders http.res.headers.Location to POST /orders http.res.body.id",
	"POST /orders http.res.headers.Location to POST /orders http.res.headers.Location",
}

// Metadata of gRPC are fields of HTTP/2, and so are tokens in them.
func TestValuesAreCarriedOverHTTP2(t *testing.T) {
	token := "first-" + random(8)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			answer(w, 200, map[string]any{"token": token})
			return
		}
		body, _ := io.ReadAll(r.Body)
		answer(w, 200, map[string]any{"known": r.Header.Get("Authorization") == "Bearer "+token && string(body) == `{"again":"`+token+`"}` && r.ProtoMajor == 2})
	}))
	server.Config.Protocols = &protocols
	server.Start()
	t.Cleanup(server.Close)
	give := exchange("GET", "/token", "a", 0, "", `{"token":"recorded-1234"}`)
	use := exchange("POST", "/use", "b", 10*time.Millisecond, `{"again":"recorded-1234"}`, `{"known":true}`)
	use.Http.Req.Headers = append(use.Http.Req.Headers, &traffic.Header{Name: "authorization", Value: "Bearer recorded-1234"})
	for _, p := range []*traffic.RRPair{give, use} {
		p.Http.Req.Version = "2.0"
		p.Http.Res.Headers = []*traffic.Header{{Name: "content-type", Value: "application/json"}}
	}
	if _, failed := replayed(t, server.Listener.Addr().String(), generator.Options{Actions: pairs(give, use)}); len(failed) > 0 {
		t.Errorf("%q", failed)
	}
}

// A giver that fails has those that need its value sent as recorded, and counted.
func TestWhatNoResponseGaveIsSentAsRecorded(t *testing.T) {
	_, recorded := startShop(t, 40)
	list := visit(t, recorded)
	sick, addr := startShop(t, 7000)
	sick.sick = true
	r, failed := replayed(t, addr, generator.Options{Actions: pairs(list...)})
	if len(failed) == 0 || r.Requests.Sent != 7 {
		t.Errorf("%+v", r.Requests)
	}
	for _, c := range r.Carried {
		if strings.HasPrefix(c.From, "POST /login") && !strings.HasPrefix(c.To, "POST /login") && (c.Count != 0 || c.Missing["status_differs"] != 1) {
			t.Errorf("%+v", c)
		}
	}
	if len(r.Carried) < 6 {
		t.Errorf("%+v", r.Carried)
	}
}

// Requests of other sessions wait for the response that gives them their token,
// although their time has come; all others do not.
func TestARequestWaitsForTheResponseThatItNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPipeServer(0)
		s.delay = func(path string) time.Duration {
			if path == "/token" {
				return time.Second
			}
			return 0
		}
		token := exchange("GET", "/token", "a", 0, "", `{"token":"abcdefgh12345678"}`)
		token.Duration = int64(time.Millisecond)
		use := get("/use", "b", 10*time.Millisecond)
		use.Http.Req.Headers = append(use.Http.Req.Headers, &traffic.Header{Name: "Authorization", Value: "Bearer abcdefgh12345678"})
		after := get("/after", "b", 20*time.Millisecond)
		single := get("/single", "", 20*time.Millisecond)
		single.Http.Req.Headers = use.Http.Req.Headers
		other := get("/other", "c", 30*time.Millisecond)
		sum, err := generator.Run(t.Context(), generator.Options{
			Actions: pairs(token, use, after, single, other), Dial: s.dial, Concurrency: 2, Timeout: time.Minute, Wait: goWait,
		})
		if err != nil || sum.Sent != 5 || sum.LateStarts != 0 {
			t.Fatalf("%v, %+v", err, sum)
		}
		var got []string
		for _, a := range s.arrivals {
			got = append(got, fmt.Sprint(a.path, " ", a.at.Round(time.Millisecond)))
		}
		slices.Sort(got)
		want := []string{"/after 1s", "/other 30ms", "/single 1s", "/token 0s", "/use 1s"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// A snapshot that begins after the login has masked tokens that no response gives:
// they are signed anew with a key from a secret.
func TestMaskedTokensAreSignedAnew(t *testing.T) {
	_, recorded := startShop(t, 40)
	list := visit(t, recorded)[1:2]
	masker, hidden := masked(t, list)
	shop, addr := startShop(t, 7000)
	secrets := t.TempDir()
	os.Mkdir(filepath.Join(secrets, "shop"), 0o700)
	if err := os.WriteFile(filepath.Join(secrets, "shop", "key"), shop.key, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := transform.Parse([]byte(`{"generator":[{"extractor":{"type":"http_req_header","config":{"name":"Authorization"}},
		"transforms":[{"type":"jwt_resign","config":{"secretPath":"shop/key","sub":"ada"}}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	set, err := c.GeneratorSet(transform.Environment{Secrets: secrets})
	if err != nil {
		t.Fatal(err)
	}
	r, failed := replayed(t, addr, generator.Options{Actions: pairs(hidden...), Masker: masker, Transforms: set})
	if len(failed) > 0 {
		t.Errorf("%q", failed)
	}
	want := []report.Carried{{From: "transforms.generator[0]", To: "GET /me", Count: 1}}
	if diff := cmp.Diff(want, r.Carried); diff != "" {
		t.Error(diff)
	}
	if _, failed := replayed(t, addr, generator.Options{Actions: pairs(hidden...), Masker: masker}); len(failed) == 0 {
		t.Error("the shop takes a masked token")
	}
}

// Sessions that carry values from one to the other are sent by one generator.
func TestSessionsThatCarryValuesShareAGenerator(t *testing.T) {
	_, recorded := startShop(t, 40)
	list := visit(t, recorded)
	for i := range 6 {
		p := get("/nothing", fmt.Sprint("other-", i), time.Duration(i)*time.Millisecond)
		p.Ts = list[0].Ts + int64(i+1)*int64(time.Millisecond)
		list = append(list, p)
	}
	_, addr := startShop(t, 7000)
	sent := int64(0)
	for i := range 3 {
		r, failed := replayed(t, addr, generator.Options{Actions: pairs(list...), Share: generator.Share{Index: i, Count: 3}})
		for _, f := range failed {
			if !strings.HasPrefix(f, "/nothing") {
				t.Errorf("%d: %s", i, f)
			}
		}
		sent += r.Requests.Sent
	}
	if sent != 13 {
		t.Errorf("%d requests are sent", sent)
	}
}

func routes(r *report.Report) []string {
	var list []string
	for _, c := range r.Carried {
		list = append(list, c.From+" to "+c.To)
	}
	return list
}

func clone(p *traffic.RRPair) *traffic.RRPair {
	b, _ := json.Marshal(p)
	c := new(traffic.RRPair)
	if err := json.Unmarshal(b, c); err != nil {
		panic(err)
	}
	return c
}

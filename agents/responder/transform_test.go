package responder_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/agents/responder"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/transform"
)

// A request id that is another one each time is left out of the signature, and the
// answer has the one that came; others are as recorded.
func TestTransformsOfRequestsAndAnswers(t *testing.T) {
	c, err := transform.Parse([]byte(`{"responder":[
		{"id":"ask","filters":"location IS \"/quote\"","extractor":{"type":"req_body"},"transforms":[
			{"type":"json_path","config":{"path":"ref"}},{"type":"var_store","config":{"name":"ref"}},{"type":"constant","config":{"new":"any"}}]},
		{"extractor":{"type":"res_body"},"transforms":[{"type":"json_path","config":{"path":"ref"}},{"type":"var_load","config":{"name":"ref"}}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	set, err := c.ResponderSet(transform.Environment{})
	if err != nil {
		t.Fatal(err)
	}
	b := report.NewBuilder(nil, report.Options{})
	_, addr := start(t, responder.Options{
		Reactions: pairs(
			recorded("POST", "/quote", `{"ref":"old","n":1}`, `{"ref":"old","price":7}`, "Content-Type", "application/json"),
			recorded("GET", "/plain", "", `{"price":8}`),
		),
		Transforms: set, Report: b,
	})
	for _, tt := range []struct{ request, status, body string }{
		{"POST /quote HTTP/1.1\r\nHost: api.test\r\nContent-Length: 22\r\n\r\n" + `{"n":1,"ref":"longer"}`, "200", `{"ref":"longer","price":7}`},
		{"POST /quote HTTP/1.1\r\nHost: api.test\r\nContent-Length: 22\r\n\r\n" + `{"n":2,"ref":"longer"}`, "404", `"request":"POST /quote"`},
		{"GET /plain HTTP/1.1\r\nHost: api.test\r\n\r\n", "200", `{"price":8}`},
	} {
		got := exchange(t, addr, tt.request)
		if !strings.HasPrefix(got, "HTTP/1.1 "+tt.status) || !strings.Contains(got, tt.body) {
			t.Errorf("%s\nis answered\n%s", tt.request, got)
		}
		if tt.body == `{"ref":"longer","price":7}` && !strings.Contains(got, "Content-Length: 26\r\n") {
			t.Errorf("of another length: %s", got)
		}
	}
	want := []report.Carried{
		{From: "transforms.responder[0] (ask)", To: "POST /quote", Count: 2},
		{From: "transforms.responder[1]", To: "GET /plain", Missing: map[string]int64{"no_value": 1}},
		{From: "transforms.responder[1]", To: "POST /quote", Count: 1},
	}
	if diff := cmp.Diff(want, b.Finish().Carried); diff != "" {
		t.Error(diff)
	}
}

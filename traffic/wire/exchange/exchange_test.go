package exchange_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
	"github.com/speedscale/speedscale/traffic/wire/exchange"
	"github.com/speedscale/speedscale/traffic/wire/wiretest"
)

// run makes an exchange with the given fields and bodies.
func run(opt wire.Options, request, response []string, req, res string) *wiretest.Recorder {
	rec := &wiretest.Recorder{}
	opt.Sink = rec
	var e exchange.Exchange
	at := wiretest.Start()
	e.Begin(&opt, at)
	if r := e.Request(); r != nil {
		r.Method, r.Uri, r.Host = "POST", "/p", "h"
		f := e.Fields(len(request)/2, 0)
		for i := 0; i < len(request); i += 2 {
			f.Add(request[i], request[i+1])
		}
		r.Headers = f.List()
	}
	e.RequestHead("http")
	e.Body(wire.Client, []byte(req), -1)
	if r := e.Response(); r != nil {
		f := e.Fields(0, 0) // more than announced is taken too
		for i := 0; i < len(response); i += 2 {
			f.Add(response[i], response[i+1])
		}
		r.Headers = f.List()
	}
	e.ResponseHead("200")
	e.Body(wire.Server, []byte(res), 0)
	e.Finish(at.Add(time.Second))
	return rec
}

func TestTechnologies(t *testing.T) {
	tests := []struct {
		request, response []string
		tech              string
		detected          []string
	}{
		{nil, nil, "HTTP", []string{"HTTP"}},
		{nil, []string{"content-type", "image/png"}, "HTTP", []string{"HTTP"}},
		{nil, []string{"content-type", "Application/Problem+JSON; charset=utf-8"}, "JSON", []string{"HTTP", "JSON"}},
		{[]string{"Content-Type", "application/json"}, []string{"Content-Type", "application/json"}, "JSON", []string{"HTTP", "JSON"}},
		{[]string{"Content-Type", "application/x-www-form-urlencoded"}, []string{"Content-Type", "text/html"}, "HTML", []string{"HTTP", "HTML", "Form"}},
		{[]string{"Content-Type", "text/xml"}, nil, "XML", []string{"HTTP", "XML"}},
		{[]string{"Content-Type", "application/graphql-response+json"}, nil, "GraphQL", []string{"HTTP", "GraphQL"}},
		{[]string{"Content-Type", "application/grpc+proto"}, nil, "gRPC", []string{"HTTP", "gRPC"}},
		{[]string{"Content-Type", "application/grpc-web"}, nil, "HTTP", []string{"HTTP"}},
		{[]string{"authorization", "basic YTpi"}, nil, "HTTP", []string{"HTTP", "HTTP Auth", "Basic"}},
		{[]string{"authorization", "bearer opaque"}, nil, "HTTP", []string{"HTTP", "HTTP Auth", "Bearer"}},
		{[]string{"authorization", "Bearer eyJh.eyJi.c"}, nil, "HTTP", []string{"HTTP", "HTTP Auth", "Bearer", "JWT"}},
	}
	for _, tt := range tests {
		p := run(wire.Options{}, tt.request, tt.response, "", "").Pairs[0]
		if diff := cmp.Diff(tt.detected, p.DetectedTech); diff != "" || p.Tech != tt.tech {
			t.Errorf("%v %v: tech %q, want %q; detected (-want +got):\n%s", tt.request, tt.response, p.Tech, tt.tech, diff)
		}
	}
}

func TestBodiesAreCutAtTheLimit(t *testing.T) {
	for size, want := range map[int]int{0: 0, 9: 9, 10: 10, 11: 10, 10_000: 10} {
		p := run(wire.Options{MaxBody: 10}, nil, nil, strings.Repeat("q", size), strings.Repeat("s", size)).Pairs[0]
		if len(p.Http.Req.Body) != want || p.Http.Req.BodySize != int64(size) || p.RequestCut() != (size > 10) {
			t.Errorf("request body of %d: kept %d of %d", size, len(p.Http.Req.Body), p.Http.Req.BodySize)
		}
		if len(p.Http.Res.Body) != want || p.Http.Res.BodySize != int64(size) || p.ResponseCut() != (size > 10) {
			t.Errorf("response body of %d: kept %d of %d", size, len(p.Http.Res.Body), p.Http.Res.BodySize)
		}
	}
}

func TestBudget(t *testing.T) {
	for limit := int64(0); limit < 8000; limit += 100 {
		budget := wire.NewBudget(limit)
		rec := run(wire.Options{Budget: budget}, []string{"A", "b"}, []string{"C", "d"}, strings.Repeat("q", 1000), strings.Repeat("s", 1000))
		if budget.Used() != 0 {
			t.Fatalf("budget of %d: %d bytes taken after the end", limit, budget.Used())
		}
		if len(rec.Pairs)+rec.LostPairs[traffic.ReasonBudget] != 1 {
			t.Fatalf("budget of %d: %d pairs, lost %v; want one or the other", limit, len(rec.Pairs), rec.LostPairs)
		}
		for _, p := range rec.Pairs {
			kept := int64(len(p.Http.Req.Body) + len(p.Http.Res.Body))
			if kept+rec.LostBytes[traffic.ReasonBudget] != 2000 || p.Http.Req.BodySize+p.Http.Res.BodySize != 2000 {
				t.Fatalf("budget of %d: kept %d bytes of body, lost %v; want 2000 in all", limit, kept, rec.LostBytes)
			}
		}
	}
}

func TestTextIsUTF8(t *testing.T) {
	for in, want := range map[string]string{"": "", "plain": "plain", "grün": "grün", "gr\xfcn": "grün", "\xff\x00": "ÿ\x00"} {
		if got := exchange.Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestTargetIsUTF8(t *testing.T) {
	for in, want := range map[string]string{"/a?b": "/a?b", "/grün": "/grün", "/gr\xfcn%20": "/gr%FCn%20"} {
		if got := exchange.Target(in); got != want {
			t.Errorf("Target(%q) = %q, want %q", in, got, want)
		}
	}
}

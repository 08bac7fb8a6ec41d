package filter_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
)

// randomQuery makes a filter over few values, so that rules often hold.
func randomQuery(r *rand.Rand) string {
	value := func() string { return string(rune('a' + r.IntN(3))) }
	rule := func() string {
		op := []string{"IS", "NOT", "CONTAINS", "NOT CONTAINS", "REGEX", "NOT REGEX"}[r.IntN(6)]
		key := []string{"service", "namespace", "cluster", "location", "host", "url", "command", "header[k]", "status",
			"tag[k]", "session", "req_json[k]", "text", "tech"}[r.IntN(14)]
		switch r.IntN(10) {
		case 0:
			return `sample "1/2"`
		case 1:
			at := func() string { return time.Unix(int64(r.IntN(10))+1, 0).UTC().Format(time.RFC3339) }
			return `timerange "` + at() + `" ""`
		case 2:
			return `direction ` + []string{`IS "IN"`, `NOT "OUT"`}[r.IntN(2)]
		}
		return fmt.Sprintf("%s %s %q", key, op, value())
	}
	list := func(n int, item func() string) string {
		items := make([]string, n)
		for i := range items {
			items[i] = item()
		}
		return strings.Join(items, []string{" AND ", " OR "}[r.IntN(2)])
	}
	return list(1+r.IntN(3), func() string { return "(" + list(1+r.IntN(3), rule) + ")" })
}

func randomPair(r *rand.Rand) *traffic.RRPair {
	value := func() string { return strings.Repeat(string(rune('a'+r.IntN(3))), 1+r.IntN(2)) }
	return &traffic.RRPair{
		Uuid: []byte(fmt.Sprintf("%016d", r.IntN(1000))), Ts: int64(r.IntN(10)+1) * 1e9, Direction: traffic.Direction(1 + r.IntN(2)),
		Cluster: value(), Namespace: value(), Service: value(), Command: value(), Location: value(), Status: value(),
		Session: value(), Tech: value(), Tags: map[string]string{"k": value()},
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{Url: value(), Host: value(), Headers: []*traffic.Header{{Name: "K", Value: value()}},
				Body: []byte(`{"k":"` + value() + `"}`)},
			Res: &traffic.HTTPResponse{Body: []byte(value())},
		},
	}
}

// headOf leaves what is known when only the head of the request was read.
func headOf(p *traffic.RRPair) *traffic.RRPair {
	h := proto.CloneOf(p)
	h.Status, h.Session, h.Tech, h.Uuid, h.Tags = "", "", "", nil, nil
	h.Http.Req.Body, h.Http.Res = nil, nil
	return h
}

func TestHeadMatchImpliesMatch(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	early := 0
	for range 20_000 {
		query := randomQuery(r)
		f, err := filter.Parse(query)
		if err != nil {
			t.Fatal(err)
		}
		p := randomPair(r)
		if f.Head().Match(headOf(p)) {
			early++
			if !f.Match(p) {
				t.Fatalf("%s: the head %s matches, the whole does not: %v", f, f.Head(), p)
			}
		}
	}
	if early < 1000 {
		t.Errorf("only %d heads matched: the test shows little", early)
	}
}

func TestBoundsHoldForWhatMatches(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	matched, narrowed := 0, 0
	for range 20_000 {
		f, err := filter.Parse(randomQuery(r))
		if err != nil {
			t.Fatal(err)
		}
		p, b := randomPair(r), f.Bounds()
		in := b.Contains(p)
		if !in {
			narrowed++
		}
		if f.Match(p) {
			matched++
			if !in {
				t.Fatalf("%s: matches outside of its bounds %+v: %v", f, b, p)
			}
		}
	}
	if matched < 1000 || narrowed < 1000 {
		t.Errorf("%d matched, %d narrowed: the test shows little", matched, narrowed)
	}
}

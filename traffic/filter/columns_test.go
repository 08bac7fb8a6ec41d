package filter_test

import (
	"testing"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
)

// column is the value of a pair that a Column is about.
func column(p *traffic.RRPair, name string) string {
	return map[string]string{
		"command": p.Command, "l7protocol": p.L7Protocol, "location": p.Location,
		"network_address": p.NetworkAddress, "session": p.Session, "status": p.Status,
	}[name]
}

func TestColumnsHoldForEveryMatch(t *testing.T) {
	queries := []struct {
		query   string
		columns int
	}{
		{`(location CONTAINS "/b")`, 1},
		{`(location CONTAINS "/c" OR location IS "/a")`, 1},
		{`(location CONTAINS "/b" OR status IS "500")`, 0},
		{`(location CONTAINS "/b" AND status IS "500")`, 2},
		{`(location CONTAINS "/b") AND (status NOT "500")`, 2},
		{`(location CONTAINS "/b") OR (status IS "500")`, 0},
		{`(command REGEX "^P") AND (header[x] IS "1")`, 1},
		{`(l7protocol IS "HTTP") AND (session IS "s")`, 2},
		{`(networkaddr NOT CONTAINS "db")`, 1},
		{`(url CONTAINS "/b")`, 0},
		{``, 0},
	}
	var pairs []*traffic.RRPair
	for _, location := range []string{"/a", "/b", "/b/c"} {
		for _, status := range []string{"200", "500"} {
			for _, command := range []string{"GET", "POST"} {
				pairs = append(pairs, &traffic.RRPair{
					Location: location, Status: status, Command: command, L7Protocol: "http", Session: "s", NetworkAddress: "web:80",
					Http: &traffic.HTTP{Req: &traffic.HTTPRequest{Url: "http://web" + location, Headers: []*traffic.Header{{Name: "x", Value: "1"}}}},
				}, &traffic.RRPair{Location: location, Status: status, Command: command, L7Protocol: "grpc", NetworkAddress: "db:5432"})
			}
		}
	}
	for _, q := range queries {
		f, err := filter.Parse(q.query)
		if err != nil {
			t.Errorf("%q: %v", q.query, err)
			continue
		}
		list := f.Columns()
		if len(list) != q.columns {
			t.Errorf("%q: %d columns, want %d", q.query, len(list), q.columns)
		}
		left, matched := 0, 0
		for _, p := range pairs {
			may := true
			for _, c := range list {
				may = may && c.Match(column(p, c.Name))
			}
			if f.Match(p) {
				matched++
				if !may {
					t.Errorf("%q matches %v, and its columns leave it out", q.query, p)
				}
			}
			if may {
				left++
			}
		}
		if matched == 0 || q.columns > 0 && left == len(pairs) {
			t.Errorf("%q: %d pairs match and %d of %d are left, which tests nothing", q.query, matched, left, len(pairs))
		}
	}
	if (*filter.Filter)(nil).Columns() != nil {
		t.Error("no filter has columns")
	}
}

package filter_test

import (
	"errors"
	"testing"

	"github.com/speedscale/speedscale/traffic/filter"
)

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		``, `service IS "a"`, `(a[b] NOT "c" OR url REGEX "x\"\\d") AND (sample "1/5")`, `req_json[$.a[*]['b c']] CONTAINS "x"`,
		`tag["a]b"] IS "x"`, `timerange "2026-01-01T00:00:00Z" ""`, `uuid IS "30313233-3435-3637-3839-616263646566"`,
		`req_xml[/a/b] NOT CONTAINS "z"`, `((`, "text IS \"\x00\"",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		fl, err := filter.Parse(query)
		if err != nil {
			se, ok := errors.AsType[*filter.SyntaxError](err)
			if !ok || se.Offset < 0 || se.Offset > len(query) || se.Error() == "" {
				t.Fatalf("%q: %#v", query, err)
			}
			return
		}
		sameFilter(t, fl)
		p := pair()
		if fl.Head().Match(headOf(p)) && !fl.Match(p) {
			t.Fatalf("%q: the head matches, the whole does not", query)
		}
		if fl.Match(p) && !fl.Bounds().Contains(p) {
			t.Fatalf("%q: matches outside of its bounds", query)
		}
	})
}

func FuzzParseJSON(f *testing.F) {
	f.Add(filter.Standard().JSON())
	f.Add([]byte(`{"conditions":[{"filters":[{"sample":{"rate":"1/5"}},{"reqFilter":{"key":"a","type":"REQ_FILTER_TYPE_JSON"}}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		fl, err := filter.ParseJSON(data)
		if err != nil {
			if _, ok := errors.AsType[*filter.JSONError](err); !ok {
				t.Fatalf("%q: %#v", data, err)
			}
			return
		}
		sameFilter(t, fl)
		fl.Match(pair())
	})
}

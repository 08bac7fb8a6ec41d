package jsonscan_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/traffic/jsonscan"
)

func TestPathAny(t *testing.T) {
	const doc = ` {"a":{"b":[1,{"c":"x"},{"c":"y"}],"":0},"k y":true,"\u0061z":null} `
	tests := []struct{ path, want string }{
		{"$.a.b[0]", "1"},
		{"a.b[1].c", `"x"`},
		{"a.b[*].c", `"x" "y"`},
		{"a.*[2].c", `"y"`},
		{"$['k y']", "true"},
		{`$["az"]`, "null"},
		{"a.b.c", ""},
		{"a[0]", ""},
		{"$", strings.TrimSpace(doc)},
	}
	for _, tt := range tests {
		p, err := jsonscan.ParsePath(tt.path)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		p.Any([]byte(doc), func(v []byte) bool {
			got = append(got, string(v))
			return false
		})
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s leads to %s, want %s", tt.path, s, tt.want)
		}
	}
	for _, path := range []string{"$.", "a..b", "[", "[x]", "[-1]", "['a]", "$x"} {
		if p, err := jsonscan.ParsePath(path); err == nil {
			t.Errorf("%q is taken as a path: %v", path, p)
		}
	}
}

func TestNestingIsBounded(t *testing.T) {
	deep := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	if !jsonscan.Valid(deep(jsonscan.MaxDepth)) || jsonscan.Valid(deep(1_000_000)) {
		t.Error("the limit of the depth does not hold")
	}
}

func FuzzValid(f *testing.F) {
	for _, seed := range []string{`{"a":[1,-0.5e+3,"\u00e9\n",true,null,{}]}`, `[]`, `"`, `{"a":}`, `01`, `[1,]`, "\"\x01\"", `"\ud83d\ude00\ud800"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > jsonscan.MaxDepth {
			return
		}
		if got, want := jsonscan.Valid(b), json.Valid(b); got != want {
			t.Fatalf("%q: Valid = %v, encoding/json says %v", b, got, want)
		}
		var s string
		if json.Unmarshal(b, &s) == nil && strings.ToValidUTF8(string(b), "") == string(b) {
			start := jsonscan.Space(b, 0)
			if start < len(b) && b[start] == '"' {
				end, _, _ := jsonscan.String(b, start)
				if got := string(jsonscan.Unescape(nil, b[start+1:end-1])); got != s {
					t.Fatalf("%q: Unescape = %q, want %q", b, got, s)
				}
				if again := jsonscan.AppendString(nil, []byte(s)); !jsonscan.Valid(again) {
					t.Fatalf("AppendString(%q) = %s", s, again)
				}
			}
		}
	})
}

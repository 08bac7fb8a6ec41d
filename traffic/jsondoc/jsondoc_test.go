package jsondoc_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/traffic/jsondoc"
)

func parse(t *testing.T, doc string) *jsondoc.Node {
	t.Helper()
	n, err := jsondoc.Parse([]byte(doc))
	if err != nil {
		t.Fatalf("%v in %s", err, doc)
	}
	return n
}

func diff(a, b *jsondoc.Node) []string {
	var got []string
	jsondoc.Diff(a, b, func(path string, a, b *jsondoc.Node) bool {
		line := path + ":"
		for _, n := range []*jsondoc.Node{a, b} {
			if n == nil {
				line += " -"
			} else {
				line += " " + string(n.Raw)
			}
		}
		got = append(got, line)
		return true
	})
	return got
}

func TestDiff(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want []string
	}{
		{`{"a":1,"b":[1,2]}`, ` { "b":[1.0, 2e0], "a":1 }`, nil},
		{`{"a":"é\n"}`, `{"a":"\u00e9\u000a"}`, nil},
		{`{"a":{"b":1},"c":2}`, `{"a":{"b":2},"d":3}`, []string{"a.b: 1 2", "c: 2 -", "d: - 3"}},
		{`[1,[2,3]]`, `[1,[2],4]`, []string{"[1][1]: 3 -", "[2]: - 4"}},
		{`{"items":[{"sku":"a"}]}`, `{"items":[{"sku":"b"}]}`, []string{`items[0].sku: "a" "b"`}},
		{`{"a.b":1,"":2}`, `{"a.b":2,"":3}`, []string{`['a.b']: 1 2`, `['']: 2 3`}},
		{`1`, `"1"`, []string{`: 1 "1"`}},
		{`{"a":null}`, `{"a":false}`, []string{`a: null false`}},
		{`12345678901234567890`, `12345678901234567891`, []string{`: 12345678901234567890 12345678901234567891`}},
		{`[-0,100,0.5e1,1e-2]`, `[0.0,1e2,5,0.01]`, nil},
		{`1e99999999`, `10e99999999`, []string{`: 1e99999999 10e99999999`}},
		{`{"a":1,"a":2}`, `{"a":2}`, nil},
	} {
		if d := cmp.Diff(c.want, diff(parse(t, c.a), parse(t, c.b))); d != "" {
			t.Errorf("%s and %s (-want +got):\n%s", c.a, c.b, d)
		}
	}
}

func TestDiffStopsWhenToldTo(t *testing.T) {
	calls := 0
	jsondoc.Diff(parse(t, `[1,2,3]`), parse(t, `[4,5,6]`), func(string, *jsondoc.Node, *jsondoc.Node) bool {
		calls++
		return false
	})
	if calls != 1 {
		t.Errorf("visited %d places, want 1", calls)
	}
}

func TestDiffOfLargeObjectsIsQuick(t *testing.T) {
	var a, b strings.Builder
	names := make([]string, 50_000)
	for i := range names {
		names[i] = `"k` + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + json.Number(strings.Repeat("9", i%5+1)).String() + jsonInt(i) + `":1`
	}
	a.WriteString("{" + strings.Join(names, ",") + "}")
	for i, j := 0, len(names)-1; i < j; i, j = i+1, j-1 {
		names[i], names[j] = names[j], names[i]
	}
	b.WriteString("{" + strings.Join(names, ",") + "}")
	if got := diff(parse(t, a.String()), parse(t, b.String())); got != nil {
		t.Errorf("objects in another order differ: %d places", len(got))
	}
}

func jsonInt(i int) string {
	b, _ := json.Marshal(i)
	return string(b)
}

func TestAppendCanonical(t *testing.T) {
	for _, c := range []struct {
		doc, want string
		skip      []string
	}{
		{` {"b" : [ 1.0 , 1e2 ], "a":"\u0041\/\"" } `, `{"a":"A/\"","b":[1.0,1e2]}`, nil},
		{`{"a":{"ts":1,"x":2},"ts":3}`, `{"a":{"x":2}}`, []string{"ts"}},
		{`{"a":{"ts":1,"x":2},"ts":3}`, `{"a":{"ts":1,"x":2}}`, []string{"$.ts"}},
		{`{"i":[{"id":1,"n":2},{"id":3,"n":4}]}`, `{"i":[{"n":2},{"n":4}]}`, []string{"$.i[*].id"}},
		{`{"i":[{"id":1,"n":2},{"id":3,"n":4}]}`, `{"i":[{"id":1,"n":2}]}`, []string{"$['i'][1]"}},
		{`{"a b":{"c.d":1,"e":2}}`, `{"a b":{"e":2}}`, []string{`$["a b"]['c.d']`}},
		{`{"x":{"id":1},"y":{"id":2,"z":3}}`, `{"x":{},"y":{"z":3}}`, []string{"$.*.id"}},
		{`{"idx":1,"id":2}`, `{"idx":1}`, []string{"$.id"}},
		{`[]`, `[]`, []string{"a"}},
		{`{"b":{"d":1,"c":[{"f":1,"e":{}}]},"a":[]}`, `{"a":[],"b":{"c":[{"e":{},"f":1}],"d":1}}`, nil},
		{`{"b":1,"a":2,"b":3,"a":[]}`, `{"a":[],"b":3}`, nil},
		{`[{"a":1},2]`, `[2]`, []string{"$[0]"}},
	} {
		skip, err := jsondoc.ParsePaths(c.skip)
		if err != nil {
			t.Fatal(err)
		}
		got, err := jsondoc.AppendCanonical([]byte("x"), []byte(c.doc), skip)
		if err != nil || string(got) != "x"+c.want {
			t.Errorf("%s without %q is %s (%v), want %s", c.doc, c.skip, got, err, c.want)
		}
	}
}

func TestCanonicalFormOfWhatIsNotJSON(t *testing.T) {
	for _, doc := range []string{``, `{"a":1`, `[1,]`, `{} x`, strings.Repeat("[", 2000)} {
		if got, err := jsondoc.AppendCanonical([]byte("x"), []byte(doc), jsondoc.Paths{}); err == nil || string(got) != "x" {
			t.Errorf("%.20q gives %q and error %v", doc, got, err)
		}
	}
}

func TestBadPathIsNamed(t *testing.T) {
	if _, err := jsondoc.ParsePaths([]string{"ok", "$.a[x]"}); err == nil || !strings.Contains(err.Error(), "$.a[x]") {
		t.Errorf("error is %v, want it to name the path", err)
	}
}

func TestAnyIndex(t *testing.T) {
	for in, want := range map[string]string{"a": "a", "a[12].b[0]": "a[*].b[*]", "['a.b'][1]": "['a.b'][*]", "[0": "[*"} {
		if got := jsondoc.AnyIndex(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func leavesOf(n *jsondoc.Node, list []string) []string {
	if k := n.Kind(); k != '{' && k != '[' {
		return append(list, string(n.Raw))
	}
	for i := range n.Children {
		list = leavesOf(&n.Children[i], list)
	}
	return list
}

func TestLeavesHaveTheirPaths(t *testing.T) {
	doc := `{"a":{"b.c":[1,{"d":"x\"y"}]},"e":[],"f":null}`
	var got []string
	ok := jsondoc.Leaves([]byte(doc), func(path []byte, from, to int) bool {
		got = append(got, string(path)+" "+jsondoc.LeafText([]byte(doc[from:to])))
		return len(got) < 3
	})
	want := []string{"a['b.c'][0] 1", `a['b.c'][1].d x"y`, "f null"}
	if !ok || !slices.Equal(got, want) {
		t.Errorf("%v %q", ok, got)
	}
	if jsondoc.Leaves([]byte(`{"a":1`), func([]byte, int, int) bool { return true }) {
		t.Error("what is no document has leaves")
	}
}

func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"\ud83d\ude00"}],"a":null}`), []byte(`[1e5]`))
	f.Fuzz(func(t *testing.T, x, y []byte) {
		a, err := jsondoc.Parse(x)
		if err != nil {
			return
		}
		if !json.Valid(x) {
			t.Fatalf("parsed %q, which is not JSON", x)
		}
		var leaves []string
		if !jsondoc.Leaves(x, func(_ []byte, from, to int) bool { leaves = append(leaves, string(x[from:to])); return true }) {
			t.Fatalf("%q is a document, and has no leaves", x)
		}
		if want := leavesOf(a, nil); !slices.Equal(leaves, want) {
			t.Fatalf("%q has the leaves %q, want %q", x, leaves, want)
		}
		canonical, err := jsondoc.AppendCanonical(nil, x, jsondoc.Paths{})
		if err != nil {
			t.Fatal(err)
		}
		again, err := jsondoc.Parse(canonical)
		if err != nil {
			t.Fatalf("%v in canonical %q", err, canonical)
		}
		if second, err := jsondoc.AppendCanonical(nil, canonical, jsondoc.Paths{}); err != nil || !bytes.Equal(canonical, second) {
			t.Fatalf("canonical form changed from %q to %q", canonical, second)
		}
		if got := diff(a, again); got != nil {
			t.Fatalf("%q differs from its canonical form: %q", x, got)
		}
		if b, err := jsondoc.Parse(y); err == nil {
			if ab, ba := diff(a, b), diff(b, a); (ab == nil) != (ba == nil) {
				t.Fatalf("difference is one-sided: %q, %q", ab, ba)
			}
		}
	})
}

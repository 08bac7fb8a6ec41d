package signature

import (
	"bytes"
	"iter"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/speedscale/speedscale/traffic/jsondoc"
)

// None stands in a Field for a value that is not there, as documented.
const None = "-NONE-"

// Bounds of what Diff returns.
const (
	MaxFields = 50
	MaxText   = 160
)

// Field is one difference between two signatures, printable and bounded.
type Field struct {
	// Key is a signature key, and below it a path or a name, like
	// http:requestBodyJSON.items[0].sku or http:queryparams.page.
	Key  string `json:"key"`
	Want string `json:"want"`
	Got  string `json:"got"`
}

// Diff returns the fields in which got differs from want, at most MaxFields.
// Its texts are at most MaxText bytes, without control characters.
func Diff(want, got Signature) []Field {
	d := differ{most: MaxFields}
	d.signatures(want, got)
	return d.fields
}

type differ struct {
	fields []Field
	most   int
}

func (d *differ) add(key, want, got string) bool {
	if len(d.fields) < d.most {
		d.fields = append(d.fields, Field{Key: Printable(key), Want: Printable(want), Got: Printable(got)})
	}
	return len(d.fields) < d.most
}

// signatures merges two lists that are in the order of their keys.
func (d *differ) signatures(want, got Signature) {
	for len(want) > 0 || len(got) > 0 {
		switch {
		case len(got) == 0 || len(want) > 0 && want[0].Key < got[0].Key:
			d.add(want[0].Key, string(want[0].Value), None)
			want = want[1:]
		case len(want) == 0 || got[0].Key < want[0].Key:
			d.add(got[0].Key, None, string(got[0].Value))
			got = got[1:]
		default:
			if !bytes.Equal(want[0].Value, got[0].Value) {
				d.entry(want[0].Key, want[0].Value, got[0].Value)
			}
			want, got = want[1:], got[1:]
		}
	}
}

func (d *differ) entry(key string, want, got []byte) {
	switch key {
	case KeyJSON, KeyGRPC:
		a, errA := jsondoc.Parse(want)
		b, errB := jsondoc.Parse(got)
		if errA == nil && errB == nil {
			d.documents(key, a, b)
			return
		}
	case KeyQuery, KeyForm:
		d.params(key, params(string(want)), params(string(got)))
		return
	case KeyHeaders:
		d.params(key, headerParams(want), headerParams(got))
		return
	}
	d.add(key, string(want), string(got))
}

func (d *differ) documents(key string, want, got *jsondoc.Node) {
	before := len(d.fields)
	jsondoc.Diff(want, got, func(path string, a, b *jsondoc.Node) bool {
		return d.add(join(key, path), raw(a), raw(b))
	})
	if len(d.fields) == before {
		// Numbers that are written in two ways are not equal in a signature.
		d.add(key, string(want.Raw), string(got.Raw))
	}
}

func join(key, path string) string {
	if path == "" || path[0] == '[' {
		return key + path
	}
	return key + "." + path
}

func raw(n *jsondoc.Node) string {
	if n == nil {
		return None
	}
	return string(n.Raw)
}

// params compares lists that are sorted by name.
func (d *differ) params(key string, want, got []param) {
	for len(want) > 0 || len(got) > 0 {
		switch {
		case len(got) == 0 || len(want) > 0 && want[0].name < got[0].name:
			d.add(join(key, want[0].name), want[0].value, None)
			want = want[1:]
		case len(want) == 0 || got[0].name < want[0].name:
			d.add(join(key, got[0].name), None, got[0].value)
			got = got[1:]
		default:
			if want[0].value != got[0].value {
				d.add(join(key, want[0].name), want[0].value, got[0].value)
			}
			want, got = want[1:], got[1:]
		}
	}
}

func headerParams(value []byte) []param {
	var list []param
	for line := range strings.Lines(string(value)) {
		name, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		list = append(list, param{name, v})
	}
	return list
}

// Printable returns s without control characters and with at most MaxText bytes.
func Printable(s string) string {
	cut := len(s) > MaxText
	if cut {
		s = s[:MaxText]
		for i := 0; i < utf8.UTFMax && len(s) > 0 && !utf8.RuneStart(s[len(s)-1]); i++ {
			s = s[:len(s)-1]
		}
		if r, n := utf8.DecodeLastRuneInString(s); r == utf8.RuneError && n == 1 {
			s = s[:len(s)-1]
		}
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		quoted := strconv.Quote(s)
		s = strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
	}
	if cut {
		s += "…"
	}
	return s
}

// nearestTier bounds how many equally good candidates are compared by field.
const nearestTier = 64

// Nearest returns the index that stands with the candidate most like got, and how
// got differs from it; -1 where no candidate has the host or the endpoint of got.
// The rule is: first fewest of method, path and host differ, where a path of the
// same Endpoint counts as half; of those (of the first 64) the one with the
// fewest differing fields; of those the first.
func Nearest(got Signature, candidates iter.Seq2[int, Signature]) (int, []Field) {
	type candidate struct {
		index int
		sig   Signature
	}
	var tier []candidate
	best := math.MaxInt
	head := headOf(got)
	for i, sig := range candidates {
		d, related := head.distance(headOf(sig))
		switch {
		case !related || d > best:
		case d < best:
			best, tier = d, append(tier[:0], candidate{i, sig})
		case len(tier) < nearestTier:
			tier = append(tier, candidate{i, sig})
		}
	}
	index, fields := -1, []Field(nil)
	for _, c := range tier {
		if f := Diff(c.sig, got); index < 0 || len(f) < len(fields) {
			index, fields = c.index, f
		}
	}
	return index, fields
}

// head is what candidates are first ranked by.
type head struct {
	method, host, path []byte
	endpoint           string
}

func headOf(s Signature) head {
	path := s.Get(KeyURL)
	return head{method: s.Get(KeyMethod), host: s.Get(KeyHost), path: path, endpoint: Endpoint(string(path))}
}

func (h head) distance(o head) (d int, related bool) {
	if !bytes.Equal(h.method, o.method) {
		d += 2
	}
	switch {
	case bytes.Equal(h.path, o.path):
	case h.endpoint == o.endpoint:
		d++
	default:
		d += 2
	}
	if !bytes.Equal(h.host, o.host) {
		return d + 2, h.endpoint == o.endpoint
	}
	return d, true
}

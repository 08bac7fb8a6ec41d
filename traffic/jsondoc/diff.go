package jsondoc

import (
	"bytes"
	"strings"
)

// Diff visits the places where b differs from a, in a's order, until visit
// returns false. a or b is nil where the other has a value that it lacks. Arrays
// are compared by index; numbers by value, so that 1, 1.0 and 1e0 are equal;
// strings by what they say. path is as items[0].sku, and empty at the top.
func Diff(a, b *Node, visit func(path string, a, b *Node) bool) {
	d := differ{visit: visit}
	d.values(a, b)
}

type differ struct {
	visit func(path string, a, b *Node) bool
	path  []byte
}

// values is false where visit wants no more.
func (d *differ) values(a, b *Node) bool {
	if bytes.Equal(a.Raw, b.Raw) {
		return true
	}
	kind := a.Kind()
	if kind != b.Kind() {
		return d.differ(a, b)
	}
	switch kind {
	case '{':
		return d.objects(a, b)
	case '[':
		return d.arrays(a, b)
	case '"':
		if a.Text() == b.Text() {
			return true
		}
	case '0':
		if SameNumber(string(a.Raw), string(b.Raw)) {
			return true
		}
	}
	return d.differ(a, b)
}

func (d *differ) differ(a, b *Node) bool { return d.visit(string(d.path), a, b) }

func (d *differ) objects(a, b *Node) bool {
	inA, inB := membersOf(a), membersOf(b)
	for i := range inA.list {
		m := &inA.list[i]
		if !d.member(m.Name, m, inB.find(i, m.Name)) {
			return false
		}
	}
	for i := range inB.list {
		m := &inB.list[i]
		if inA.find(i, m.Name) == nil && !d.member(m.Name, nil, m) {
			return false
		}
	}
	return true
}

func (d *differ) member(name []byte, a, b *Node) bool {
	if a != nil && b != nil && bytes.Equal(a.Raw, b.Raw) {
		return true
	}
	up := len(d.path)
	d.path = appendName(d.path, name)
	more := d.either(a, b)
	d.path = d.path[:up]
	return more
}

func (d *differ) either(a, b *Node) bool {
	if a == nil || b == nil {
		return d.differ(a, b)
	}
	return d.values(a, b)
}

func (d *differ) arrays(a, b *Node) bool {
	for i := range max(len(a.Children), len(b.Children)) {
		var x, y *Node
		if i < len(a.Children) {
			x = &a.Children[i]
		}
		if i < len(b.Children) {
			y = &b.Children[i]
		}
		up := len(d.path)
		d.path = appendIndex(d.path, i)
		more := d.either(x, y)
		if d.path = d.path[:up]; !more {
			return false
		}
	}
	return true
}

// members finds an object's members by name, quickly where they stand at the
// place that is hinted. Where a name stands twice the last one counts, as most
// readers have it.
type members struct {
	list   []Node
	byName map[string]int // where there are many
}

func membersOf(n *Node) members {
	m := members{list: n.Children}
	const few = 32
	if len(m.list) > few {
		m.byName = make(map[string]int, len(m.list))
	}
	for i := range m.list {
		if _, twice := m.index(i, m.list[i].Name); twice {
			return membersOf(&Node{Children: lastOfEach(m.list)})
		}
		if m.byName != nil {
			m.byName[string(m.list[i].Name)] = i
		}
	}
	return m
}

// index finds a name among the first n members.
func (m *members) index(n int, name []byte) (int, bool) {
	if m.byName != nil {
		i, ok := m.byName[string(name)]
		return i, ok
	}
	for i := range n {
		if bytes.Equal(m.list[i].Name, name) {
			return i, true
		}
	}
	return 0, false
}

func (m *members) find(hint int, name []byte) *Node {
	if hint < len(m.list) && bytes.Equal(m.list[hint].Name, name) {
		return &m.list[hint]
	}
	if i, ok := m.index(len(m.list), name); ok {
		return &m.list[i]
	}
	return nil
}

// lastOfEach leaves out members that a later one of the same name replaces.
func lastOfEach(list []Node) []Node {
	last := make(map[string]int, len(list))
	for i := range list {
		last[string(list[i].Name)] = i
	}
	var kept []Node
	for i := range list {
		if last[string(list[i].Name)] == i {
			kept = append(kept, list[i])
		}
	}
	return kept
}

// SameNumber says whether two JSON numbers have the same value, exactly.
func SameNumber(a, b string) bool {
	if a == b {
		return true
	}
	x, okX := decimalOf(a)
	y, okY := decimalOf(b)
	return okX && okY && x == y
}

// decimal is a number as 0.digits times ten to the power of exp, with no zeros
// at either end of digits.
type decimal struct {
	negative bool
	digits   string
	exp      int
}

// decimalOf is false where the exponent is beyond what any program reads.
func decimalOf(s string) (decimal, bool) {
	var d decimal
	s, d.negative = strings.CutPrefix(s, "-")
	mantissa, exponent := s, ""
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa, exponent = s[:i], s[i+1:]
	}
	e, ok := smallInt(exponent)
	if !ok {
		return d, false
	}
	whole, frac, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+frac, "0")
	d.exp = e + len(whole) - (len(whole) + len(frac) - len(digits))
	if d.digits = strings.TrimRight(digits, "0"); d.digits == "" {
		return decimal{}, true // zero, whatever its sign and exponent
	}
	return d, true
}

func smallInt(s string) (int, bool) {
	s, negative := strings.CutPrefix(strings.TrimPrefix(s, "+"), "-")
	n := 0
	for _, c := range s {
		if n = n*10 + int(c-'0'); n > 1<<20 {
			return 0, false
		}
	}
	if negative {
		n = -n
	}
	return n, true
}

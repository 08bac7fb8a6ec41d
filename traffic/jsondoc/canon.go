package jsondoc

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/speedscale/speedscale/traffic/jsonscan"
)

// AppendCanonical appends a document so that documents that say the same are
// the same bytes: no white space, members in the order of their names, strings
// with the fewest escapes. Numbers stay as written, since 1 and 1.0 are not the
// same to every program. What skip matches is left out; its paths are those of
// Diff. On an error, which is as Parse's, dst is returned as it was.
func AppendCanonical(dst, doc []byte, skip Paths) ([]byte, error) {
	c := canon{doc: doc, dst: dst, skip: skip}
	end, ok := c.value(jsonscan.Space(doc, 0), 0)
	if end = jsonscan.Space(doc, end); !ok || end < len(doc) {
		return dst, fmt.Errorf("byte %d: invalid JSON", end)
	}
	return c.dst, nil
}

// canon writes values as it meets them, and sorts the members of an object where
// they lie in dst when the object ends. Most are in order already.
type canon struct {
	doc, dst []byte
	skip     Paths
	path     []byte
	members  []member // of the objects that are open
	scratch  []byte
}

// member is where a member lies in dst, with the comma behind it.
type member struct {
	name       []byte
	start, end int
}

func (c *canon) value(i, depth int) (end int, ok bool) {
	if i >= len(c.doc) || c.doc[i] != '{' && c.doc[i] != '[' {
		if end, ok = jsonscan.Skip(c.doc, i); ok {
			c.leaf(c.doc[i:end])
		}
		return end, ok
	}
	m := jsonscan.Walk(c.doc, i, depth)
	first := len(c.members)
	c.dst = append(c.dst, c.doc[i])
	open := len(c.dst)
	for m.Next() {
		if !c.child(&m, depth) {
			return m.Pos(), false
		}
	}
	if !m.OK() {
		return m.Pos(), false
	}
	if m.Object() {
		c.sort(c.members[first:])
		c.members = c.members[:first]
	}
	if len(c.dst) > open {
		c.dst = c.dst[:len(c.dst)-1] // the last comma
	}
	c.dst = append(c.dst, c.doc[i]+2) // ] and } are two past [ and {
	return m.Pos(), true
}

// child writes a member or an element, with a comma.
func (c *canon) child(m *jsonscan.Members, depth int) bool {
	name := m.Key
	if m.Escaped {
		name = jsonscan.Unescape(nil, name)
	}
	up := len(c.path)
	defer func() { c.path = c.path[:up] }()
	if !c.skip.Empty() {
		if m.Object() {
			c.path = appendName(c.path, name)
		} else {
			c.path = appendIndex(c.path, m.Index())
		}
		if c.skip.Match(string(c.path)) {
			return m.Skip()
		}
	}
	start := len(c.dst)
	if m.Object() {
		c.dst = append(jsonscan.AppendString(c.dst, name), ':')
	}
	end, ok := c.value(m.Pos(), depth+1)
	m.SetPos(end)
	c.dst = append(c.dst, ',')
	if m.Object() {
		c.members = append(c.members, member{name, start, len(c.dst)})
	}
	return ok
}

func (c *canon) leaf(raw []byte) {
	if raw[0] == '"' && bytes.IndexByte(raw, '\\') >= 0 {
		c.dst = jsonscan.AppendString(c.dst, jsonscan.Unescape(nil, raw[1:len(raw)-1]))
		return
	}
	c.dst = append(c.dst, raw...)
}

// sort puts the members that end dst in order. Where a name stands twice the
// last one counts, as most readers have it.
func (c *canon) sort(list []member) {
	inOrder := true
	for i := 1; i < len(list) && inOrder; i++ {
		inOrder = bytes.Compare(list[i-1].name, list[i].name) < 0
	}
	if inOrder {
		return
	}
	start := list[0].start
	slices.SortFunc(list, func(a, b member) int {
		return cmp.Or(bytes.Compare(a.name, b.name), cmp.Compare(a.start, b.start))
	})
	c.scratch = append(c.scratch[:0], c.dst[start:]...)
	c.dst = c.dst[:start]
	for i, m := range list {
		if i+1 == len(list) || !bytes.Equal(m.name, list[i+1].name) {
			c.dst = append(c.dst, c.scratch[m.start-start:m.end-start]...)
		}
	}
}

package jsondoc

import (
	"bytes"
	"slices"

	"github.com/speedscale/speedscale/traffic/jsonscan"
)

// AppendCanonical appends a value so that values that say the same are the same
// bytes: no white space, members in the order of their names, strings with the
// fewest escapes. Numbers stay as written, since 1 and 1.0 are not the same to
// every program. What skip matches is left out; its paths are those of Diff.
func AppendCanonical(dst []byte, n *Node, skip Paths) []byte {
	c := canon{skip: skip}
	return c.append(dst, n)
}

type canon struct {
	skip Paths
	path []byte
}

func (c *canon) append(dst []byte, n *Node) []byte {
	switch n.Kind() {
	case '{':
		return c.object(dst, n)
	case '[':
		dst = append(dst, '[')
		open := len(dst)
		for i := range n.Children {
			up := len(c.path)
			if c.path = c.appendIndex(i); !c.skips() {
				dst = comma(dst, open)
				dst = c.append(dst, &n.Children[i])
			}
			c.path = c.path[:up]
		}
		return append(dst, ']')
	case '"':
		return appendText(dst, n.Raw)
	}
	return append(dst, n.Raw...)
}

func (c *canon) object(dst []byte, n *Node) []byte {
	byName := func(a, b *Node) int { return bytes.Compare(a.Name, b.Name) }
	order := make([]*Node, 0, 16)
	for i := range n.Children {
		order = append(order, &n.Children[i])
	}
	if !slices.IsSortedFunc(order, byName) {
		slices.SortStableFunc(order, byName)
	}
	dst = append(dst, '{')
	open := len(dst)
	for i, m := range order {
		if i+1 < len(order) && bytes.Equal(m.Name, order[i+1].Name) {
			continue // the last of a name counts
		}
		up := len(c.path)
		if c.path = c.appendName(m.Name); !c.skips() {
			dst = comma(dst, open)
			dst = jsonscan.AppendString(dst, m.Name)
			dst = append(dst, ':')
			dst = c.append(dst, m)
		}
		c.path = c.path[:up]
	}
	return append(dst, '}')
}

// Paths cost time, so they are only kept where something may be skipped.
func (c *canon) appendIndex(i int) []byte {
	if c.skip.Empty() {
		return c.path
	}
	return appendIndex(c.path, i)
}

func (c *canon) appendName(name []byte) []byte {
	if c.skip.Empty() {
		return c.path
	}
	return appendName(c.path, name)
}

func (c *canon) skips() bool { return !c.skip.Empty() && c.skip.Match(string(c.path)) }

func comma(dst []byte, open int) []byte {
	if len(dst) > open {
		return append(dst, ',')
	}
	return dst
}

// appendText appends a string that is written in raw, with the fewest escapes.
func appendText(dst, raw []byte) []byte {
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return append(dst, raw...)
	}
	return jsonscan.AppendString(dst, jsonscan.Unescape(nil, inner))
}

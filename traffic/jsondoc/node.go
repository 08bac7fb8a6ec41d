// Package jsondoc holds JSON documents (RFC 8259) as recorded traffic needs
// them: members keep their order, numbers stay as written, and two documents
// are compared by path.
package jsondoc

import (
	"fmt"

	"github.com/speedscale/speedscale/traffic/jsonscan"
)

// Node is a value of a document. It shares the document's memory.
type Node struct {
	// Raw is the value as written.
	Raw []byte
	// Members are those of an object, in order. Where a name stands twice, the
	// last one counts, as most readers have it.
	Members []Member
	// Items are those of an array.
	Items []Node
}

// Member is a member of an object.
type Member struct {
	Name  string
	Value Node
}

// Kind returns {, [, ", t (true or false), n (null) or 0 (a number).
func (n *Node) Kind() byte {
	switch c := n.Raw[0]; c {
	case '{', '[', '"', 'n':
		return c
	case 't', 'f':
		return 't'
	}
	return '0'
}

// Member returns the member of that name, nil where there is none.
func (n *Node) Member(name string) *Node {
	for i := range n.Members {
		if n.Members[i].Name == name {
			return &n.Members[i].Value
		}
	}
	return nil
}

// Text returns what a string says, and any other value as written.
func (n *Node) Text() string {
	if n.Kind() != '"' {
		return string(n.Raw)
	}
	return string(jsonscan.Unescape(nil, n.Raw[1:len(n.Raw)-1]))
}

// Parse reads a document. Its error names the byte where it stops being JSON,
// or nests deeper than jsonscan.MaxDepth.
func Parse(doc []byte) (*Node, error) {
	var n Node
	end, ok := parse(&n, doc, jsonscan.Space(doc, 0), 0)
	if end = jsonscan.Space(doc, end); !ok || end < len(doc) {
		return nil, fmt.Errorf("byte %d: invalid JSON", end)
	}
	return &n, nil
}

func parse(n *Node, doc []byte, i, depth int) (end int, ok bool) {
	if i >= len(doc) || doc[i] != '{' && doc[i] != '[' {
		if end, ok = jsonscan.Skip(doc, i); ok {
			n.Raw = doc[i:end]
		}
		return end, ok
	}
	m := jsonscan.Walk(doc, i, depth)
	for m.Next() {
		var child Node
		end, ok := parse(&child, doc, m.Pos(), depth+1)
		if !ok {
			return end, false
		}
		m.SetPos(end)
		if m.Object() {
			n.set(memberName(&m), child)
		} else {
			n.Items = append(n.Items, child)
		}
	}
	n.Raw = doc[i:m.Pos()]
	return m.Pos(), m.OK()
}

func memberName(m *jsonscan.Members) string {
	if m.Escaped {
		return string(jsonscan.Unescape(nil, m.Key))
	}
	return string(m.Key)
}

func (n *Node) set(name string, value Node) {
	// Looking for an earlier member of that name is quadratic; objects with many
	// members are maps made by programs, which do not repeat names.
	if len(n.Members) < 64 {
		if old := n.Member(name); old != nil {
			*old = value
			return
		}
	}
	n.Members = append(n.Members, Member{Name: name, Value: value})
}

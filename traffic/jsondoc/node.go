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
	// Name is that of an object's member.
	Name []byte
	// Children are the members of an object or the items of an array, in order.
	Children []Node
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
	p := parser{doc: doc}
	root, end, ok := p.value(jsonscan.Space(doc, 0), 0)
	if end = jsonscan.Space(doc, end); !ok || end < len(doc) {
		return nil, fmt.Errorf("byte %d: invalid JSON", end)
	}
	return &root, nil
}

// parser builds a document's nodes with few allocations: the children of what
// is open wait on a stack, and move to a block when it closes.
type parser struct {
	doc   []byte
	stack []Node
	block []Node
}

func (p *parser) value(i, depth int) (n Node, end int, ok bool) {
	if i >= len(p.doc) || p.doc[i] != '{' && p.doc[i] != '[' {
		if end, ok = jsonscan.Skip(p.doc, i); ok {
			n.Raw = p.doc[i:end]
		}
		return n, end, ok
	}
	open := len(p.stack)
	m := jsonscan.Walk(p.doc, i, depth)
	for m.Next() {
		child, end, ok := p.value(m.Pos(), depth+1)
		if !ok {
			return n, end, false
		}
		m.SetPos(end)
		if child.Name = m.Key; m.Escaped {
			child.Name = jsonscan.Unescape(nil, m.Key)
		}
		p.stack = append(p.stack, child)
	}
	n.Raw = p.doc[i:m.Pos()]
	n.Children = p.keep(p.stack[open:])
	p.stack = p.stack[:open]
	return n, m.Pos(), m.OK()
}

// keep copies nodes to the block, which never moves.
func (p *parser) keep(nodes []Node) []Node {
	if len(nodes) == 0 {
		return nil
	}
	if cap(p.block)-len(p.block) < len(nodes) {
		p.block = make([]Node, 0, max(16, 2*cap(p.block), len(nodes)))
	}
	start := len(p.block)
	p.block = append(p.block, nodes...)
	return p.block[start:len(p.block):len(p.block)]
}

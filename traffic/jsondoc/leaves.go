package jsondoc

import "github.com/speedscale/speedscale/traffic/jsonscan"

// Leaves visits what is neither an object nor an array, in the document's order,
// until visit returns false. The leaf is doc[from:to], with its quotes where it is
// a string; path is as Diff has it, and is good until visit returns. ok is false
// where doc is not one JSON document: what came before the fault was visited.
func Leaves(doc []byte, visit func(path []byte, from, to int) bool) (ok bool) {
	l := leaves{doc: doc, visit: visit}
	end, ok := l.value(jsonscan.Space(doc, 0), 0)
	return l.stopped || ok && jsonscan.Space(doc, end) == len(doc)
}

type leaves struct {
	doc     []byte
	visit   func(path []byte, from, to int) bool
	path    []byte
	stopped bool
}

func (l *leaves) value(i, depth int) (end int, ok bool) {
	if i >= len(l.doc) || l.doc[i] != '{' && l.doc[i] != '[' {
		if end, ok = jsonscan.Skip(l.doc, i); ok && !l.visit(l.path, i, end) {
			l.stopped, ok = true, false
		}
		return end, ok
	}
	m := jsonscan.Walk(l.doc, i, depth)
	for m.Next() {
		up := len(l.path)
		switch {
		case !m.Object():
			l.path = appendIndex(l.path, m.Index())
		case m.Escaped:
			l.path = appendName(l.path, jsonscan.Unescape(nil, m.Key))
		default:
			l.path = appendName(l.path, m.Key)
		}
		end, ok := l.value(m.Pos(), depth+1)
		if l.path = l.path[:up]; !ok {
			return end, false
		}
		m.SetPos(end)
	}
	return m.Pos(), m.OK()
}

// LeafText returns what the leaf says: a string without quotes and escapes, any
// other one as written.
func LeafText(leaf []byte) string {
	return (&Node{Raw: leaf}).Text()
}

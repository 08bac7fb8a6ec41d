package jsonscan

import (
	"fmt"
	"strconv"
	"strings"
)

// Path is a JSON path: $.order.items[0].sku, $.items[*]['unit price'], a.b. The
// leading $ may be left out. It is a subset of RFC 9535: names, indexes from 0,
// and wildcards.
type Path struct {
	text  string
	steps []step
}

type step struct {
	key   string
	index int // -1 in a step by key
	any   bool
}

// ParsePath compiles a path; its errors name the offset.
func ParsePath(text string) (Path, error) {
	p := Path{text: text}
	i := 0
	if strings.HasPrefix(text, "$") {
		i = 1
	} else if text != "" && text[0] != '[' && text[0] != '.' {
		text = "." + text
	}
	for i < len(text) {
		s, n, err := parseStep(text[i:])
		if err != nil {
			return Path{}, fmt.Errorf("JSON path %q: at offset %d: %w", p.text, i-(len(text)-len(p.text)), err)
		}
		p.steps = append(p.steps, s)
		i += n
	}
	return p, nil
}

func parseStep(s string) (step, int, error) {
	switch {
	case s[0] == '.':
		n := strings.IndexAny(s[1:], ".[")
		if n < 0 {
			n = len(s) - 1
		}
		name := s[1 : 1+n]
		if name == "" {
			return step{}, 0, fmt.Errorf("a name is missing after the dot")
		}
		return step{key: name, index: -1, any: name == "*"}, 1 + n, nil
	case strings.HasPrefix(s, "[*]"):
		return step{index: -1, any: true}, 3, nil
	case strings.HasPrefix(s, "['"), strings.HasPrefix(s, `["`):
		end := strings.Index(s[2:], s[1:2]+"]")
		if end < 0 {
			return step{}, 0, fmt.Errorf("the quoted name has no end")
		}
		return step{key: s[2 : 2+end], index: -1}, end + 4, nil
	case s[0] == '[':
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return step{}, 0, fmt.Errorf("the bracket has no end")
		}
		n, err := strconv.Atoi(s[1:end])
		if err != nil || n < 0 {
			return step{}, 0, fmt.Errorf("%q is not an index, want a number from 0, * or a quoted name", s[1:end])
		}
		return step{index: n}, end + 1, nil
	}
	return step{}, 0, fmt.Errorf("want a dot or a bracket, found %q", s[:1])
}

// String returns the path as it was written.
func (p Path) String() string { return p.text }

// Len is the number of steps.
func (p Path) Len() int { return len(p.steps) }

// Takes says whether the i-th step leads to the member where m stands.
func (p Path) Takes(i int, m *Members, scratch []byte) bool {
	s := &p.steps[i]
	switch {
	case s.any:
		return true
	case !m.object:
		return s.index == m.index
	case s.index >= 0:
		return false
	case m.Escaped:
		return string(Unescape(scratch[:0], m.Key)) == s.key
	}
	return string(m.Key) == s.key
}

// Names says whether the i-th step leads to a member of that name.
func (p Path) Names(i int, name string) bool {
	return p.steps[i].any || p.steps[i].index < 0 && p.steps[i].key == name
}

// Any says whether match is true for a value that the path leads to in doc. The
// value is passed as written. Where doc is not valid JSON, what stands before
// the error counts.
func (p Path) Any(doc []byte, match func(value []byte) bool) bool {
	_, found := p.any(doc, Space(doc, 0), 0, match)
	return found
}

// any returns the end of the value at doc[i], or -1 where it has none.
func (p Path) any(doc []byte, i, depth int, match func([]byte) bool) (int, bool) {
	if depth == len(p.steps) || i >= len(doc) || doc[i] != '{' && doc[i] != '[' {
		end, ok := skip(doc, i, depth)
		if !ok {
			return -1, false
		}
		return end, depth == len(p.steps) && match(doc[i:end])
	}
	m := Walk(doc, i, depth)
	for m.Next() {
		if !p.Takes(depth, &m, nil) {
			if !m.Skip() {
				return -1, false
			}
			continue
		}
		end, found := p.any(doc, m.pos, depth+1, match)
		if found || end < 0 {
			return end, found
		}
		m.pos = end
	}
	return m.pos, false
}

package filter

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// SyntaxError says where a query is wrong and what was expected there.
type SyntaxError struct {
	Query  string
	Offset int // in bytes
	Msg    string
}

// Error shows the line of the query that is wrong, with a caret below the place.
func (e *SyntaxError) Error() string {
	start := strings.LastIndexByte(e.Query[:e.Offset], '\n') + 1
	line, _, _ := strings.Cut(e.Query[start:], "\n")
	line = strings.ReplaceAll(strings.ToValidUTF8(line, "\uFFFD"), "\t", " ")
	column := utf8.RuneCountInString(e.Query[start:e.Offset])
	return fmt.Sprintf("filter: at offset %d: %s\n  %s\n  %s^", e.Offset, e.Msg, line, strings.Repeat(" ", column))
}

// Parse compiles the query form. An empty query matches every pair. Its errors
// are *SyntaxError.
func Parse(query string) (*Filter, error) {
	p := &parser{query: query}
	if !utf8.ValidString(query) {
		return nil, &SyntaxError{Query: query, Offset: invalidUTF8(query), Msg: "this byte is not UTF-8"}
	}
	f := &Filter{}
	p.space()
	if p.pos == len(query) {
		return f, nil
	}
	or, err := p.list("condition", func() error {
		c, err := p.condition()
		f.conditions = append(f.conditions, c)
		return err
	}, func() bool { return p.pos == len(query) }, "AND, OR or the end of the query")
	if err != nil {
		return nil, err
	}
	f.joinedByOr = or
	return f, nil
}

func invalidUTF8(s string) int {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return i
			}
		}
	}
	return len(s)
}

type parser struct {
	query string
	pos   int
}

func (p *parser) errorf(offset int, format string, args ...any) error {
	return &SyntaxError{Query: p.query, Offset: offset, Msg: fmt.Sprintf(format, args...)}
}

// list reads items that are joined by AND or by OR, up to its end.
func (p *parser) list(what string, item func() error, end func() bool, want string) (or bool, err error) {
	for n := 0; ; n++ {
		if err := item(); err != nil {
			return false, err
		}
		if p.space(); end() {
			return or, nil
		}
		at, word := p.word()
		isOr := strings.EqualFold(word, "OR")
		if !isOr && !strings.EqualFold(word, "AND") {
			return false, p.errorf(at, "want %s, found %s", want, p.found(at))
		}
		if n > 0 && isOr != or {
			return false, p.errorf(at, "AND and OR cannot be mixed in one list: put each %s list in parentheses", what)
		}
		or = isOr
	}
}

// condition reads a list of rules in parentheses, or one rule without.
func (p *parser) condition() (condition, error) {
	var c condition
	one := func() error {
		r, err := p.rule()
		c.rules = append(c.rules, r)
		return err
	}
	p.space()
	if !p.take('(') {
		return c, one()
	}
	or, err := p.list("rule", one, func() bool { return p.take(')') }, "AND, OR or )")
	c.joinedByOr = or
	return c, err
}

// rule reads key[param] OPERATOR "value".
func (p *parser) rule() (rule, error) {
	var r rule
	p.space()
	if p.pos < len(p.query) && p.query[p.pos] == '(' {
		return r, p.errorf(p.pos, "parentheses do not nest: want a key")
	}
	start, word := p.word()
	if err := p.key(&r, start, word); err != nil {
		return r, err
	}
	if err := p.param(&r); err != nil {
		return r, err
	}
	if err := p.operator(&r); err != nil {
		return r, err
	}
	at := p.pos
	var err error
	if r.value, err = p.value(); err != nil {
		return r, err
	}
	until := ""
	if r.key == keyTimeRange {
		if until, err = p.value(); err != nil {
			return r, err
		}
	}
	for at < len(p.query) && isSpace(p.query[at]) {
		at++
	}
	compiled, err := compile(r, until)
	if err != nil {
		if r.key == keyReqJSON || r.key == keyRespJSON || r.key == keyReqXML {
			at = start
		}
		return r, p.errorf(at, "%v", err)
	}
	return compiled, nil
}

func (p *parser) key(r *rule, at int, word string) error {
	for k, info := range keys {
		if strings.EqualFold(info.name, word) {
			r.key = key(k)
			return nil
		}
	}
	if why, ok := refused[strings.ToLower(word)]; ok {
		return p.errorf(at, "%s", why)
	}
	names := make([]string, len(keys))
	for k, info := range keys {
		names[k] = info.name
	}
	return p.errorf(at, "%s is not a key, want one of %s", p.found(at), strings.Join(names, ", "))
}

// param reads what stands in brackets after a key that takes it.
func (p *parser) param(r *rule) error {
	info := keys[r.key]
	if p.pos == len(p.query) || p.query[p.pos] != '[' {
		if info.param != "" {
			return p.errorf(p.pos, "want %s in brackets: %s[…]", info.param, info.name)
		}
		return nil
	}
	if info.param == "" && r.key != keySample {
		return p.errorf(p.pos, "%s takes nothing in brackets", info.name)
	}
	open := p.pos
	p.pos++
	var err error
	if p.pos < len(p.query) && p.query[p.pos] == '"' {
		if r.param, err = p.value(); err != nil {
			return err
		}
	} else {
		end := closing(p.query[p.pos:])
		if end < 0 {
			return p.errorf(open, "the bracket has no end: want ]")
		}
		r.param = p.query[p.pos : p.pos+end]
		p.pos += end
	}
	if !p.take(']') {
		return p.errorf(p.pos, "want ], found %s", p.found(p.pos))
	}
	if r.param == "" {
		return p.errorf(open, "the brackets are empty: want %s", info.param)
	}
	return nil
}

// closing finds the bracket that closes an open one, over pairs of brackets
// between (as in a JSON path), or -1.
func closing(s string) int {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '[':
			depth++
		case ']':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}

func (p *parser) operator(r *rule) error {
	p.space()
	bare := r.key == keyTimeRange || r.key == keySample
	at, word := p.word()
	switch strings.ToUpper(word) {
	case "IS":
		if !bare {
			return nil
		}
	case "NOT":
		r.negate = true
		p.space()
		at2, next := p.word()
		switch {
		case next == "":
			return nil
		case !bare && strings.EqualFold(next, "CONTAINS"):
			r.op = opContains
			return nil
		case !bare && strings.EqualFold(next, "REGEX"):
			r.op = opRegex
			return nil
		}
		at = at2
	case "CONTAINS":
		r.op = opContains
	case "REGEX":
		r.op = opRegex
	case "":
		if bare {
			return nil
		}
	}
	switch {
	case bare:
		return p.errorf(at, "want a quoted value or NOT after %s, found %s", keys[r.key].name, p.found(at))
	case r.op == opIs:
		return p.errorf(at, "want IS, NOT, CONTAINS, NOT CONTAINS or REGEX, found %s", p.found(at))
	}
	return nil
}

// value reads a quoted string.
func (p *parser) value() (string, error) {
	p.space()
	open := p.pos
	if !p.take('"') {
		return "", p.errorf(open, "want a value in double quotes, found %s", p.found(open))
	}
	var b strings.Builder
	for p.pos < len(p.query) {
		c := p.query[p.pos]
		p.pos++
		switch {
		case c == '"':
			return b.String(), nil
		case c == '\\' && p.pos < len(p.query) && (p.query[p.pos] == '"' || p.query[p.pos] == '\\'):
			c = p.query[p.pos]
			p.pos++
		}
		b.WriteByte(c)
	}
	return "", p.errorf(open, `the value has no end: want "`)
}

// word reads a run of letters, digits and underscores, which may be empty.
func (p *parser) word() (start int, word string) {
	p.space()
	start = p.pos
	for p.pos < len(p.query) && isWord(p.query[p.pos]) {
		p.pos++
	}
	return start, p.query[start:p.pos]
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func (p *parser) space() {
	for p.pos < len(p.query) && isSpace(p.query[p.pos]) {
		p.pos++
	}
}

func (p *parser) take(c byte) bool {
	if p.pos < len(p.query) && p.query[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

// found describes what stands at an offset.
func (p *parser) found(at int) string {
	if at >= len(p.query) {
		return "the end of the query"
	}
	end := at
	for end < len(p.query) && isWord(p.query[end]) {
		end++
	}
	if end == at {
		_, n := utf8.DecodeRuneInString(p.query[at:])
		end += n
	}
	return fmt.Sprintf("%q", p.query[at:end])
}

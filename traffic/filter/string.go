package filter

import "strings"

// String returns the query form; Parse of it makes the same filter, without its id.
func (f *Filter) String() string {
	if f == nil {
		return ""
	}
	var b strings.Builder
	for i := range f.conditions {
		if i > 0 {
			b.WriteString(joiner(f.joinedByOr))
		}
		c := &f.conditions[i]
		b.WriteByte('(')
		for j := range c.rules {
			if j > 0 {
				b.WriteString(joiner(c.joinedByOr))
			}
			c.rules[j].write(&b)
		}
		b.WriteByte(')')
	}
	return b.String()
}

func joiner(or bool) string {
	if or {
		return " OR "
	}
	return " AND "
}

func (r *rule) write(b *strings.Builder) {
	b.WriteString(keys[r.key].name)
	if r.param != "" {
		b.WriteByte('[')
		if plainParam(r.param) {
			b.WriteString(r.param)
		} else {
			quote(b, r.param)
		}
		b.WriteByte(']')
	}
	b.WriteByte(' ')
	bare := r.key == keyTimeRange || r.key == keySample
	switch {
	case bare && r.negate, !bare && r.negate && r.op == opIs:
		b.WriteString("NOT ")
	case bare:
	case r.op == opIs:
		b.WriteString("IS ")
	default:
		if r.negate {
			b.WriteString("NOT ")
		}
		b.WriteString([...]string{opContains: "CONTAINS ", opRegex: "REGEX "}[r.op])
	}
	if r.key == keyTimeRange {
		quote(b, formatTime(r.from))
		b.WriteByte(' ')
		quote(b, formatTime(r.to))
		return
	}
	quote(b, r.value)
}

// plainParam says whether a parameter reads back as it is without quotes.
func plainParam(s string) bool {
	return s[0] != '"' && closing(s+"]") == len(s)
}

func quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
}

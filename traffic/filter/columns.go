package filter

// Column is a condition on one field of a pair. It holds for every pair that its
// filter matches, and maybe for others.
type Column struct {
	// Name is the field's in the archive: command, l7protocol, location,
	// network_address, session or status.
	Name string
	// Match says whether a value of the field may be of a matching pair.
	Match func(value string) bool
}

// columns names the fields of a pair that a rule compares as they are.
var columns = map[key]string{
	keyCommand:     "command",
	keyL7Protocol:  "l7protocol",
	keyLocation:    "location",
	keyNetworkAddr: "network_address",
	keySession:     "session",
	keyStatus:      "status",
}

// Columns returns what a reader that has single fields at hand can go by, to leave
// out pairs without decoding them. Bounds has the fields that are not among them.
func (f *Filter) Columns() []Column {
	if f == nil || f.joinedByOr && len(f.conditions) > 1 {
		return nil
	}
	var list []Column
	for i := range f.conditions {
		c := &f.conditions[i]
		if c.joinedByOr && len(c.rules) > 1 {
			if name, ok := c.column(); ok {
				list = append(list, Column{Name: name, Match: c.matchValue})
			}
			continue
		}
		for j := range c.rules {
			r := &c.rules[j]
			if name, ok := columns[r.key]; ok {
				list = append(list, Column{Name: name, Match: func(v string) bool { return r.is(v) != r.negate }})
			}
		}
	}
	return list
}

// column returns the one field that all rules are about.
func (c *condition) column() (name string, ok bool) {
	for i := range c.rules {
		if c.rules[i].key != c.rules[0].key {
			return "", false
		}
	}
	name, ok = columns[c.rules[0].key]
	return name, ok
}

// matchValue says whether a rule, of which one is to hold, holds for the value.
func (c *condition) matchValue(v string) bool {
	for i := range c.rules {
		if r := &c.rules[i]; r.is(v) != r.negate {
			return true
		}
	}
	return false
}

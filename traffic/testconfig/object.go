package testconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of a document, and of the faults that an error lists.
const (
	maxBytes  = 256 << 10
	maxDepth  = 32
	maxFaults = 20
)

// faults gathers what is wrong with a document.
type faults struct{ list []string }

func (f *faults) add(path, format string, args ...any) {
	f.list = append(f.list, path+": "+fmt.Sprintf(format, args...))
}

func (f *faults) err() error {
	list := f.list
	if len(list) == 0 {
		return nil
	}
	if n := len(list); n > maxFaults {
		list = append(slices.Clip(list[:maxFaults]), fmt.Sprintf("and %d more", n-maxFaults))
	}
	return errors.New("test config: " + strings.Join(list, "; "))
}

// object is a JSON object that is being read: a member that was read is taken out
// of it, so that what is left at the end is not known.
type object struct {
	f       *faults
	path    string // "" for the document
	members map[string]member
}

type member struct {
	name  string // as it was written
	value any    // nil (JSON null is left out), bool, string, json.Number, []any or map[string]member
}

// parse reads a document into its members by their names in camelCase.
func parse(doc []byte, f *faults) (object, error) {
	if len(doc) > maxBytes {
		return object{}, fmt.Errorf("test config: longer than %d bytes", maxBytes)
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	v, err := value(dec, 0)
	if err != nil {
		return object{}, fmt.Errorf("test config: not JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return object{}, errors.New("test config: something follows the JSON object")
	}
	members, ok := v.(map[string]member)
	if !ok {
		return object{}, errors.New("test config: not a JSON object")
	}
	return object{f: f, members: members}, nil
}

func value(dec *json.Decoder, depth int) (any, error) {
	t, err := dec.Token()
	if errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	switch t {
	case json.Delim('{'):
		return members(dec, depth)
	case json.Delim('['):
		var list []any
		for dec.More() {
			v, err := value(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	}
	return t, nil
}

func members(dec *json.Decoder, depth int) (map[string]member, error) {
	all := map[string]member{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := key.(string)
		v, err := value(dec, depth+1)
		if err != nil {
			return nil, err
		}
		camel := camelCase(name)
		if old, twice := all[camel]; twice {
			return nil, fmt.Errorf("member %q is there twice (as %q)", name, old.name)
		}
		all[camel] = member{name, v}
	}
	_, err := dec.Token()
	return all, err
}

// camelCase is the other form of a name in snake_case.
func camelCase(name string) string {
	parts := strings.Split(name, "_")
	for i, p := range parts[1:] {
		if p != "" {
			parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}

func (o object) pathOf(name string) string {
	if o.path == "" {
		return name
	}
	return o.path + "." + name
}

// take removes a member and returns its value, nil where it is not there or null.
func (o object) take(name string) (v any, path string) {
	m, ok := o.members[name]
	if !ok {
		return nil, o.pathOf(name)
	}
	delete(o.members, name)
	return m.value, o.pathOf(m.name)
}

func (o object) text(name string) string {
	v, path := o.take(name)
	s, ok := v.(string)
	if v != nil && !ok {
		o.f.add(path, "want a text")
	}
	return s
}

// flag is true, false, or either in quotes.
func (o object) flag(name string) *bool {
	v, path := o.take(name)
	switch v {
	case nil:
		return nil
	case true, "true":
		return new(true)
	case false, "false":
		return new(false)
	}
	o.f.add(path, "want true or false")
	return nil
}

func (o object) isSet(name string) bool {
	b := o.flag(name)
	return b != nil && *b
}

// number may be in quotes, as protobuf's JSON has 64-bit numbers. It is nil where it
// is left out or wrong.
func (o object) number(name string, least, most float64) *float64 {
	v, path := o.take(name)
	var text string
	switch v := v.(type) {
	case nil:
		return nil
	case json.Number:
		text = v.String()
	case string:
		text = v
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(least <= n && n <= most) {
		o.f.add(path, "%s: want a number from %s to %s", shown(v), float(least), float(most))
		return nil
	}
	return &n
}

func (o object) integer(name string, least, most int) int {
	path := o.pathOf(name)
	n := o.number(name, float64(least), float64(most))
	if n == nil {
		return 0
	}
	if *n != math.Trunc(*n) {
		o.f.add(path, "%s: want a whole number", float(*n))
	}
	return int(*n)
}

func (o object) duration(name string) duration {
	text := o.text(name)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		o.f.add(o.pathOf(name), "%q: want a duration such as 90s or 5m", text)
	}
	return duration(d)
}

// object returns a member; it is empty where there is none.
func (o object) object(name string) (member object, ok bool) {
	v, path := o.take(name)
	return o.sub(v, path)
}

func (o object) sub(v any, path string) (object, bool) {
	m, ok := v.(map[string]member)
	if v != nil && !ok {
		o.f.add(path, "want an object")
	}
	return object{f: o.f, path: path, members: m}, ok
}

// list returns the elements of an array, with their paths.
func (o object) list(name string, most int) []object {
	v, path := o.take(name)
	elements, ok := v.([]any)
	if v != nil && !ok {
		o.f.add(path, "want a list")
	}
	if len(elements) > most {
		o.f.add(path, "%d entries: want at most %d", len(elements), most)
		return nil
	}
	var all []object
	for i, e := range elements {
		if sub, ok := o.sub(e, fmt.Sprintf("%s[%d]", path, i)); ok {
			all = append(all, sub)
		} else if e == nil {
			o.f.add(sub.path, "want an object")
		}
	}
	return all
}

// texts is a list of texts, or one text with commas.
func (o object) texts(name string) []string {
	v, path := o.take(name)
	var list []string
	switch v := v.(type) {
	case nil:
	case string:
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
	case []any:
		for _, e := range v {
			s, ok := e.(string)
			if !ok || s == "" {
				o.f.add(path, "want a list of texts")
				return nil
			}
			list = append(list, s)
		}
	default:
		o.f.add(path, "want a list of texts")
	}
	return list
}

// unsupported refuses a member that says something.
func (o object) unsupported(name, advice string) {
	if v, path := o.take(name); !empty(v) {
		o.f.add(path, "is not supported: %s", advice)
	}
}

// empty says whether a value is its type's zero value, which says nothing.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]member:
		for _, m := range v {
			if !empty(m.value) {
				return false
			}
		}
		return true
	case []any:
		return len(v) == 0
	case json.Number:
		f, err := v.Float64()
		return err == nil && f == 0
	}
	return v == false || v == "" || v == "0"
}

// end refuses what nobody read.
func (o object) end(known ...string) {
	for _, name := range slices.Sorted(maps.Keys(o.members)) {
		m := o.members[name]
		if empty(m.value) {
			continue
		}
		o.f.add(o.pathOf(m.name), "is not known here; what is: %s", strings.Join(known, ", "))
	}
}

func shown(v any) string {
	switch v := v.(type) {
	case json.Number:
		return v.String()
	case string:
		return strconv.Quote(v)
	}
	return "this"
}

func float(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

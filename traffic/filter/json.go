package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// JSONError says which member of a filter's JSON form is wrong.
type JSONError struct {
	Path string // like conditions[0].filters[2].header.key; empty for the whole
	Err  error
}

func (e *JSONError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("filter: %v", e.Err)
	}
	return fmt.Sprintf("filter: %s: %v", e.Path, e.Err)
}

func (e *JSONError) Unwrap() error { return e.Err }

// The JSON form, as documented.
type (
	jsonFilter struct {
		ID         string          `json:"id,omitempty"`
		Operator   string          `json:"operator,omitempty"`
		Conditions []jsonCondition `json:"conditions"`
	}
	jsonCondition struct {
		Operator string                       `json:"operator,omitempty"`
		Filters  []map[string]json.RawMessage `json:"filters"`
	}
	jsonKeyValue struct {
		Key   string `json:"key"`
		Value string `json:"value"`
		Type  string `json:"type,omitempty"`
	}
	jsonTimeRange struct {
		StartTime string `json:"startTime,omitempty"`
		EndTime   string `json:"endTime,omitempty"`
	}
	jsonSample struct {
		Rate string `json:"rate"`
		By   string `json:"by,omitempty"` // session or rrpair
	}
)

// Types of reqFilter and respFilter.
const (
	typeJSON = "REQ_FILTER_TYPE_JSON"
	typeXML  = "REQ_FILTER_TYPE_XML"
)

// ParseJSON compiles the JSON form. A filter's operator is EQUAL if it has none,
// and include is true; lists are joined by AND where they do not say. Beyond the
// documented criteria there are session, text and respFilter {key, value, type},
// and sample is {"rate": "1/5", "by": "session"|"rrpair"}. Errors are *JSONError.
func ParseJSON(data []byte) (*Filter, error) {
	var doc jsonFilter
	if err := decode(data, &doc); err != nil {
		return nil, jsonError("", err)
	}
	or, err := parseJoiner(doc.Operator)
	if err != nil {
		return nil, jsonError("operator", err)
	}
	f := &Filter{id: doc.ID, joinedByOr: or && len(doc.Conditions) > 1}
	for i, jc := range doc.Conditions {
		path := fmt.Sprintf("conditions[%d]", i)
		or, err := parseJoiner(jc.Operator)
		if err != nil {
			return nil, jsonError(path+".operator", err)
		}
		if len(jc.Filters) == 0 {
			return nil, jsonError(path+".filters", errors.New("a condition needs a filter"))
		}
		c := condition{joinedByOr: or && len(jc.Filters) > 1}
		for k, raw := range jc.Filters {
			r, err := parseRule(raw, fmt.Sprintf("%s.filters[%d]", path, k))
			if err != nil {
				return nil, err
			}
			c.rules = append(c.rules, r)
		}
		f.conditions = append(f.conditions, c)
	}
	return f, nil
}

func jsonError(path string, err error) error { return &JSONError{Path: path, Err: err} }

// decode reads exactly one value, without members that it does not know.
func decode(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if d.More() {
		return fmt.Errorf("there is more after the value, at offset %d", d.InputOffset())
	}
	return nil
}

func parseJoiner(s string) (or bool, err error) {
	switch strings.ToUpper(s) {
	case "", "AND":
		return false, nil
	case "OR":
		return true, nil
	}
	return false, fmt.Errorf("%q: want AND or OR", s)
}

func parseRule(raw map[string]json.RawMessage, path string) (rule, error) {
	var r rule
	until, criterion := "", ""
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		at := path + "." + name
		var err error
		switch name {
		case "include":
			include := true
			err = decode(raw[name], &include)
			r.negate = !include
		case "operator":
			r.op, err = parseOperator(raw[name])
		default:
			if criterion != "" {
				return r, jsonError(at, fmt.Errorf("a filter has one criterion, and %s is there already", criterion))
			}
			criterion = name
			until, err = parseCriterion(&r, name, raw[name])
		}
		if err != nil {
			return r, jsonError(at, err)
		}
	}
	if criterion == "" {
		return r, jsonError(path, fmt.Errorf("a filter needs a criterion, one of %s", strings.Join(criteria(), ", ")))
	}
	if r.op != opIs && (r.key == keyTimeRange || r.key == keySample) {
		return r, jsonError(path+".operator", fmt.Errorf("%s takes no operator", criterion))
	}
	compiled, err := compile(r, until)
	if err != nil {
		return r, jsonError(path+"."+criterion, err)
	}
	return compiled, nil
}

func parseOperator(raw json.RawMessage) (operator, error) {
	var s string
	if err := decode(raw, &s); err != nil {
		return opIs, err
	}
	switch strings.ToUpper(s) {
	case "", "EQUAL":
		return opIs, nil
	case "CONTAINS":
		return opContains, nil
	case "REGEX":
		return opRegex, nil
	}
	return opIs, fmt.Errorf("%q: want EQUAL, CONTAINS or REGEX", s)
}

// criteria lists the names of what a filter can be about.
func criteria() []string {
	var names []string
	for _, info := range keys {
		names = append(names, info.json)
	}
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

func parseCriterion(r *rule, name string, raw json.RawMessage) (until string, err error) {
	if why, ok := refused[name]; ok {
		return "", errors.New(why)
	}
	switch name {
	case "header", "tag":
		r.key = keyHeader
		if name == "tag" {
			r.key = keyTag
		}
		return "", parseKeyValue(r, raw, "")
	case "requestBodyJson":
		r.key = keyReqJSON
		return "", parseKeyValue(r, raw, typeJSON)
	case "requestBodyXml":
		r.key = keyReqXML
		return "", parseKeyValue(r, raw, typeXML)
	case "reqFilter", "respFilter":
		return "", parseBodyFilter(r, name, raw)
	case "timeRange":
		var t jsonTimeRange
		r.key = keyTimeRange
		err = decode(raw, &t)
		r.value = t.StartTime
		return t.EndTime, err
	case "sample":
		return "", parseSample(r, raw)
	case "networkAddress":
		name = keys[keyNetworkAddr].json
	}
	for k, info := range keys {
		if info.json == name {
			r.key = key(k)
			return "", decode(raw, &r.value)
		}
	}
	return "", fmt.Errorf("not a criterion, want one of %s", strings.Join(criteria(), ", "))
}

func parseKeyValue(r *rule, raw json.RawMessage, want string) error {
	var kv jsonKeyValue
	if err := decode(raw, &kv); err != nil {
		return err
	}
	if kv.Type != want && kv.Type != "" {
		return fmt.Errorf("type %q is not for here", kv.Type)
	}
	if kv.Key == "" {
		return fmt.Errorf("key is empty: want %s", keys[r.key].param)
	}
	r.param, r.value = kv.Key, kv.Value
	return nil
}

func parseBodyFilter(r *rule, name string, raw json.RawMessage) error {
	var kv jsonKeyValue
	if err := decode(raw, &kv); err != nil {
		return err
	}
	switch {
	case kv.Type == typeJSON && name == "respFilter":
		r.key = keyRespJSON
	case kv.Type == typeJSON:
		r.key = keyReqJSON
	case kv.Type == typeXML && name == "reqFilter":
		r.key = keyReqXML
	default:
		return fmt.Errorf("type %q: want %s, or %s in reqFilter (XPath is not supported)", kv.Type, typeJSON, typeXML)
	}
	return parseKeyValue(r, raw, kv.Type)
}

func parseSample(r *rule, raw json.RawMessage) error {
	r.key = keySample
	var s jsonSample
	if err := decode(raw, &s); err != nil {
		return err
	}
	switch s.By {
	case "", "session":
	case "rrpair":
		r.param = s.By
	default:
		return fmt.Errorf("by %q: want session or rrpair", s.By)
	}
	r.value = s.Rate
	return nil
}

// JSON returns the JSON form; ParseJSON of it makes the same filter.
func (f *Filter) JSON() []byte {
	if f == nil {
		return []byte("null")
	}
	doc := jsonFilter{ID: f.id, Operator: jsonJoiner(f.joinedByOr), Conditions: []jsonCondition{}}
	for i := range f.conditions {
		c := &f.conditions[i]
		jc := jsonCondition{Operator: jsonJoiner(c.joinedByOr)}
		for k := range c.rules {
			jc.Filters = append(jc.Filters, c.rules[k].jsonForm())
		}
		doc.Conditions = append(doc.Conditions, jc)
	}
	return encode(doc)
}

func jsonJoiner(or bool) string { return strings.TrimSpace(joiner(or)) }

func (r *rule) jsonForm() map[string]json.RawMessage {
	m := map[string]json.RawMessage{"include": encode(!r.negate)}
	var criterion any = r.value
	switch r.key {
	case keyHeader, keyTag:
		criterion = jsonKeyValue{Key: r.param, Value: r.value}
	case keyReqJSON, keyRespJSON:
		criterion = jsonKeyValue{Key: r.param, Value: r.value, Type: typeJSON}
	case keyReqXML:
		criterion = jsonKeyValue{Key: r.param, Value: r.value, Type: typeXML}
	case keyTimeRange:
		criterion = jsonTimeRange{StartTime: formatTime(r.from), EndTime: formatTime(r.to)}
	case keySample:
		criterion = jsonSample{Rate: r.value, By: r.param}
	}
	m[keys[r.key].json] = encode(criterion)
	if r.key != keyTimeRange && r.key != keySample {
		m["operator"] = encode([...]string{opIs: "EQUAL", opContains: "CONTAINS", opRegex: "REGEX"}[r.op])
	}
	return m
}

// encode marshals what always can be.
func encode(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSpace(b.Bytes())
}

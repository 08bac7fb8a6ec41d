package grpcmsg

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// The JSON form of a message, after the product's documentation:
//
//	{"fieldsMap": {"1": {"fields": [{"id": 1, "type": "STRING", "asString": "x"}]}}}
//
// A field that is a message or group has its own fieldsMap in place of
// asString. Values of the same field keep their order; the order between
// fields, which has no meaning in protobuf, is by number.

type jsonMessage struct {
	FieldsMap map[string]jsonFields `json:"fieldsMap"`
}

type jsonFields struct {
	Fields []jsonField `json:"fields"`
}

type jsonField struct {
	ID       protowire.Number      `json:"id"`
	Type     Type                  `json:"type"`
	AsString *string               `json:"asString,omitempty"`
	Fields   map[string]jsonFields `json:"fieldsMap,omitempty"`
}

// MarshalJSON writes the JSON form. Equal messages give equal bytes.
func (f Fields) MarshalJSON() ([]byte, error) { return json.Marshal(jsonMessage{f.toMap()}) }

func (f Fields) toMap() map[string]jsonFields {
	m := make(map[string]jsonFields, len(f))
	for i := range f {
		field := &f[i]
		j := jsonField{ID: field.ID, Type: field.Type}
		if field.Type == Nested || field.Type == Group {
			j.Fields = field.Fields.toMap()
		} else {
			s := field.AsString()
			j.AsString = &s
		}
		key := strconv.Itoa(int(field.ID))
		entry := m[key]
		entry.Fields = append(entry.Fields, j)
		m[key] = entry
	}
	return m
}

// UnmarshalJSON reads the JSON form.
func (f *Fields) UnmarshalJSON(b []byte) error {
	var j jsonMessage
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("message in JSON: %w", err)
	}
	fields, err := fromMap(j.FieldsMap)
	if err != nil {
		return fmt.Errorf("message in JSON: %w", err)
	}
	*f = fields
	return nil
}

func fromMap(m map[string]jsonFields) (fields Fields, err error) {
	ids := make(map[int]string, len(m))
	for key := range m {
		id, err := strconv.Atoi(key)
		if err != nil || !protowire.Number(id).IsValid() || strconv.Itoa(id) != key {
			return nil, fmt.Errorf("fieldsMap has the key %q, want a field number", key)
		}
		ids[id] = key
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		for i, j := range m[ids[id]].Fields {
			if j.ID != protowire.Number(id) {
				return nil, fmt.Errorf("fieldsMap.%d.fields[%d] has id %d", id, i, j.ID)
			}
			field, err := j.field()
			if err != nil {
				return nil, fmt.Errorf("fieldsMap.%d.fields[%d]: %w", id, i, err)
			}
			fields = append(fields, field)
		}
	}
	return fields, nil
}

func (j jsonField) field() (f Field, err error) {
	f.ID, f.Type = j.ID, j.Type
	switch f.Type {
	case Nested, Group:
		f.Fields, err = fromMap(j.Fields)
		return f, err
	case Varint, Fixed32, Fixed64, String, Bytes:
		if j.AsString == nil {
			return f, fmt.Errorf("a %s without asString", f.Type)
		}
		return f, f.SetString(*j.AsString)
	}
	return f, fmt.Errorf("unknown type %q", f.Type)
}

// Walk calls visit for each leaf, with its path in the JSON form, until visit
// returns false. visit may change the leaf.
func (f Fields) Walk(visit func(path string, leaf *Field) bool) { f.walk("", visit) }

func (f Fields) walk(prefix string, visit func(string, *Field) bool) bool {
	seen := make(map[protowire.Number]int)
	for i := range f {
		field := &f[i]
		n := seen[field.ID]
		seen[field.ID]++
		path := prefix + "fieldsMap." + strconv.Itoa(int(field.ID)) + ".fields[" + strconv.Itoa(n) + "]"
		if field.Type == Nested || field.Type == Group {
			if !field.Fields.walk(path+".", visit) {
				return false
			}
		} else if !visit(path+".asString", field) {
			return false
		}
	}
	return true
}

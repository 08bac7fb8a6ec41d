package grpcmsg

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Bounds on what is made of one message.
const (
	maxDepth  = 32      // deeper messages stay bytes
	maxFields = 200_000 // of one message with all that is in it
)

// Type is what a field holds, as far as its bytes tell: the wire type, and for
// length-delimited fields whether it is text, a message or other bytes.
type Type string

// The types of fields.
const (
	Varint  Type = "VARINT"  // int32, int64, uint32, uint64, sint32, sint64, bool, enum
	Fixed32 Type = "FIXED32" // fixed32, sfixed32, float
	Fixed64 Type = "FIXED64" // fixed64, sfixed64, double
	String  Type = "STRING"
	Bytes   Type = "BYTES"
	Nested  Type = "MESSAGE"
	Group   Type = "GROUP"
)

// Field is one field of a message.
type Field struct {
	ID   protowire.Number
	Type Type
	// Number is the value of a Varint, Fixed32 or Fixed64, without sign.
	Number uint64
	// Text is the value of a String, and the bytes of a Bytes.
	Text string
	// Fields is the value of a Nested or Group.
	Fields Fields
}

// Fields are the fields of a message, in the order of the wire.
type Fields []Field

// Decode reads a protobuf message. What it returns encodes to the same bytes.
// A message that uses longer forms than needed for its numbers, which no
// encoder does, is refused for that.
//
// Text and messages are told apart by their bytes: printable UTF-8 is text
// (unless it starts with a line feed, the tag of a message's first string, and
// parses), what parses is a message, and all else is bytes. The same bytes always give the
// same fields, but a field may be read as text in one message and as a message
// in another.
func Decode(b []byte) (Fields, error) {
	d := decoder{left: maxFields}
	fields, rest, err := d.fields(b, 0, 0)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("protobuf message: group ends at byte %d without a start", len(b)-len(rest))
	}
	return fields, nil
}

type decoder struct {
	left int // fields that may still be made
	full bool
}

// fields reads fields up to the end of b, or of the group that is open (0: none).
func (d *decoder) fields(b []byte, depth int, group protowire.Number) (fields Fields, rest []byte, err error) {
	all := len(b)
	for len(b) > 0 {
		id, kind, n := protowire.ConsumeTag(b)
		if n < 0 || n != protowire.SizeTag(id) || id > protowire.MaxValidNumber {
			return nil, nil, fmt.Errorf("protobuf message: no field tag at byte %d", all-len(b))
		}
		if kind == protowire.EndGroupType {
			if id != group {
				return nil, nil, fmt.Errorf("protobuf message: end of group %d at byte %d, want %d", id, all-len(b), group)
			}
			return fields, b[n:], nil
		}
		if d.left--; d.left < 0 {
			d.full = true
			return nil, nil, fmt.Errorf("protobuf message has more than %d fields", maxFields)
		}
		f, after, ok := d.field(id, kind, b[n:], depth)
		if !ok {
			return nil, nil, fmt.Errorf("protobuf message: field %d at byte %d is malformed", id, all-len(b))
		}
		fields = append(fields, f)
		b = after
	}
	if group != 0 {
		return nil, nil, fmt.Errorf("protobuf message: group %d has no end", group)
	}
	return fields, nil, nil
}

func (d *decoder) field(id protowire.Number, kind protowire.Type, b []byte, depth int) (f Field, rest []byte, ok bool) {
	f.ID = id
	n := -1
	switch kind {
	case protowire.VarintType:
		f.Type = Varint
		f.Number, n = protowire.ConsumeVarint(b)
		if n > 0 && n != protowire.SizeVarint(f.Number) {
			return f, nil, false
		}
	case protowire.Fixed32Type:
		var v uint32
		v, n = protowire.ConsumeFixed32(b)
		f.Type, f.Number = Fixed32, uint64(v)
	case protowire.Fixed64Type:
		f.Type = Fixed64
		f.Number, n = protowire.ConsumeFixed64(b)
	case protowire.BytesType:
		var v []byte
		v, n = protowire.ConsumeBytes(b)
		if n > 0 && n != protowire.SizeBytes(len(v)) {
			return f, nil, false
		}
		if n > 0 {
			d.value(&f, v, depth)
		}
	case protowire.StartGroupType:
		f.Type = Group
		if depth >= maxDepth {
			return f, nil, false
		}
		fields, after, err := d.fields(b, depth+1, id)
		f.Fields = fields
		return f, after, err == nil
	}
	if n < 0 {
		return f, nil, false
	}
	return f, b[n:], true
}

// value sets what a length-delimited field holds.
func (d *decoder) value(f *Field, v []byte, depth int) {
	printable := isPrintable(v)
	if len(v) > 0 && depth < maxDepth && (!printable || v[0] == '\n') && !d.full {
		left := d.left
		fields, rest, err := d.fields(v, depth+1, 0)
		if err == nil && len(rest) == 0 {
			f.Type, f.Fields = Nested, fields
			return
		}
		if !d.full {
			d.left = left // what was made of it is thrown away
		}
	}
	f.Type, f.Text = Bytes, string(v)
	if printable {
		f.Type = String
	}
}

// isPrintable says whether b is UTF-8 without control characters but those of text.
func isPrintable(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
			return false
		}
	}
	return utf8.Valid(b)
}

// AsString is the value of a leaf as text: numbers in decimal without sign,
// bytes in base64. For a Nested or Group it is empty.
func (f *Field) AsString() string {
	switch f.Type {
	case Varint, Fixed32, Fixed64:
		return strconv.FormatUint(f.Number, 10)
	case String:
		return f.Text
	case Bytes:
		return base64.StdEncoding.EncodeToString([]byte(f.Text))
	}
	return ""
}

package signature

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/jsonscan"
	"github.com/speedscale/speedscale/traffic/wire/body"
	"github.com/speedscale/speedscale/traffic/wire/grpcmsg"
)

// IsGRPC says whether headers are of a gRPC message.
func IsGRPC(headers []*traffic.Header) bool {
	contentType, _ := traffic.HeaderValue(headers, "Content-Type")
	const grpc = "application/grpc"
	return len(contentType) >= len(grpc) && strings.EqualFold(contentType[:len(grpc)], grpc) &&
		!strings.HasPrefix(contentType[len(grpc):], "-web")
}

// AppendGRPC appends the messages of a gRPC body as a JSON array, each in the
// form of the product's documentation: fieldsMap.<number>.fields[].asString. It
// is false where the body is not made of protobuf messages.
//
// Fields are in the order of their numbers. Entries of a map, which encoders
// write in any order, are in the order of their keys; a list of messages that
// have nothing but a field 1, each another, and a field 2 cannot be told from a
// map, so its order is lost.
func AppendGRPC(dst []byte, headers []*traffic.Header, content []byte) ([]byte, bool) {
	messages, err := grpcmsg.Split(content)
	if err != nil {
		return dst, false
	}
	coding, _ := traffic.HeaderValue(headers, "grpc-encoding")
	dst = append(dst, '[')
	for i, m := range messages {
		data := m.Data
		if m.Compressed {
			if data, err = body.Decode(coding, data, maxDecoded); err != nil {
				return dst, false
			}
		}
		fields, err := grpcmsg.Decode(data)
		if err != nil {
			return dst, false
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendFields(append(dst, '{'), fields), '}')
	}
	return append(dst, ']'), true
}

func appendFields(dst []byte, fields grpcmsg.Fields) []byte {
	byID := func(a, b grpcmsg.Field) int { return cmp.Compare(a.ID, b.ID) }
	if !slices.IsSortedFunc(fields, byID) {
		slices.SortStableFunc(fields, byID)
	}
	dst = append(dst, `"fieldsMap":{`...)
	for i := 0; i < len(fields); {
		end := i + 1
		for end < len(fields) && fields[end].ID == fields[i].ID {
			end++
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = strconv.AppendInt(dst, int64(fields[i].ID), 10)
		dst = append(dst, `":{"fields":[`...)
		same := fields[i:end]
		if isMap(same) {
			slices.SortFunc(same, byKey)
		}
		for j := range same {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = appendField(dst, &same[j])
		}
		dst = append(dst, `]}`...)
		i = end
	}
	return append(dst, '}')
}

func appendField(dst []byte, f *grpcmsg.Field) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, f.Type...)
	dst = append(dst, `",`...)
	if f.Type == grpcmsg.Nested || f.Type == grpcmsg.Group {
		return append(appendFields(dst, f.Fields), '}')
	}
	dst = append(dst, `"asString":`...)
	dst = jsonscan.AppendString(dst, []byte(f.AsString()))
	return append(dst, '}')
}

// isMap says whether fields of one number may be the entries of a map: each is a
// message with a key of its own in field 1 and at most a value in field 2
// (Protocol Buffers encoding, "Maps").
func isMap(fields []grpcmsg.Field) bool {
	if len(fields) < 2 {
		return false
	}
	keys := make(map[string]bool, len(fields))
	for i := range fields {
		key, ok := mapKey(&fields[i])
		if !ok || keys[key] {
			return false
		}
		keys[key] = true
	}
	return true
}

func mapKey(f *grpcmsg.Field) (key string, ok bool) {
	entry := f.Fields
	if f.Type != grpcmsg.Nested || len(entry) == 0 || len(entry) > 2 || entry[0].ID != 1 || len(entry) == 2 && entry[1].ID != 2 {
		return "", false
	}
	k := &entry[0]
	return k.AsString(), k.Type != grpcmsg.Nested && k.Type != grpcmsg.Group
}

func byKey(a, b grpcmsg.Field) int {
	x, _ := mapKey(&a)
	y, _ := mapKey(&b)
	return cmp.Compare(x, y)
}

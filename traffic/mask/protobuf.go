package mask

import (
	"encoding/binary"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/speedscale/speedscale/traffic/jsonscan"
)

// maxProtoDepth is how deep messages may nest, as protobuf's own readers have it.
const maxProtoDepth = 100

// grpc masks a sequence of length-prefixed messages (the gRPC protocol over
// HTTP/2; in gRPC-Web, trailers too). Compressed ones are stored plain.
func (w *work) grpc(dst, src []byte, media string, in place) ([]byte, bool, error) {
	if strings.HasPrefix(media, "application/grpc-web-text") {
		return dst, false, notUnderstood("gRPC-Web in base64 cannot be read")
	}
	mark, anyChanged := len(dst), false
	for len(src) > 0 {
		if len(src) < 5 || uint64(binary.BigEndian.Uint32(src[1:]))+5 > uint64(len(src)) {
			return dst[:mark], false, notUnderstood("a gRPC message has no end")
		}
		end := 5 + int(binary.BigEndian.Uint32(src[1:]))
		flag, message := src[0], src[5:end]
		dst = append(dst, flag&0x80, 0, 0, 0, 0)
		start := len(dst)
		out, changed, err := w.grpcMessage(dst, flag, message, media, in)
		switch {
		case err != nil:
			return dst[:mark], false, err
		case changed:
			dst = out
			binary.BigEndian.PutUint32(dst[start-4:], uint32(len(dst)-start))
			anyChanged = true
		default:
			dst = append(dst[:start-5], src[:end]...)
		}
		src = src[end:]
	}
	if !anyChanged {
		return dst[:mark], false, nil
	}
	return dst, true, nil
}

func (w *work) grpcMessage(dst []byte, flag byte, message []byte, media string, in place) ([]byte, bool, error) {
	if flag&1 != 0 {
		plain, err := decode(w.grpcEncoding, message)
		if err != nil {
			return dst, false, err
		}
		message = plain
	}
	if flag&0x80 != 0 {
		dst, changed := w.text(dst, message, in)
		return dst, changed, nil
	}
	if strings.HasSuffix(media, "+json") {
		dst, changed, ok := w.json(dst, message, in, 0)
		if !ok {
			return dst, false, notUnderstood("a gRPC message says it is JSON, and is not")
		}
		return dst, changed, nil
	}
	return w.protobuf(dst, message, in)
}

// protobuf masks a message of which nothing but the wire format is known.
func (w *work) protobuf(dst, src []byte, in place) ([]byte, bool, error) {
	r := protoRewriter{w: w, in: in, paths: w.paths[pathsOf(in)]}
	alive := uint64(1)<<len(r.paths) - 1
	dst, changed, ok := r.message(dst, src, 0, w.all&in != 0, alive)
	if !ok {
		return dst, false, notUnderstood("it says it is protobuf, and is not")
	}
	return dst, changed, nil
}

type protoRewriter struct {
	w     *work
	in    place
	paths []jsonscan.Path
}

// message appends the masked form of a message. ok is false where src is none.
func (r *protoRewriter) message(dst, src []byte, depth int, all bool, alive uint64) (out []byte, changed, ok bool) {
	mark := len(dst)
	if depth > maxProtoDepth {
		return dst, false, false
	}
	for len(src) > 0 {
		number, kind, n := protowire.ConsumeTag(src)
		if n < 0 {
			return dst[:mark], false, false
		}
		size := protowire.ConsumeFieldValue(number, kind, src[n:])
		if size < 0 {
			return dst[:mark], false, false
		}
		below, next := r.step(number, depth, alive)
		dst = append(dst, src[:n]...)
		value := src[n : n+size]
		out, c := r.field(dst, value, number, kind, depth, all || below, next)
		if !c {
			out = append(dst, value...)
		}
		dst, changed, src = out, changed || c, src[n+size:]
	}
	if !changed {
		return dst[:mark], false, true
	}
	return dst, true, true
}

// step follows the paths to a field: masked says that one ends there.
func (r *protoRewriter) step(number protowire.Number, depth int, alive uint64) (masked bool, next uint64) {
	if alive == 0 {
		return false, 0
	}
	name := strconv.Itoa(int(number))
	for k := range r.paths {
		if alive&(1<<k) != 0 && r.paths[k].Len() > depth && r.paths[k].Names(depth, name) {
			next |= 1 << k
			masked = masked || r.paths[k].Len() == depth+1
		}
	}
	return masked, next
}

// field appends the masked form of a value after its tag; all says that every
// leaf of it is masked.
func (r *protoRewriter) field(dst, value []byte, number protowire.Number, kind protowire.Type, depth int, all bool, alive uint64) ([]byte, bool) {
	switch kind {
	case protowire.VarintType:
		v, _ := protowire.ConsumeVarint(value)
		if masked := r.varint(v, all); masked != v {
			return protowire.AppendVarint(dst, masked), true
		}
	case protowire.Fixed32Type, protowire.Fixed64Type:
		// There is no telling integers from floats: 0 is both.
		if zero := make([]byte, len(value)); all && string(value) != string(zero) {
			return append(dst, zero...), true
		}
	case protowire.BytesType:
		b, _ := protowire.ConsumeBytes(value)
		masked := r.w.buffer()
		defer func() { r.w.done(masked) }()
		var changed bool
		if masked, changed = r.bytes(masked, b, depth, all, alive); changed {
			return protowire.AppendBytes(dst, masked), true
		}
	case protowire.StartGroupType:
		b, n := protowire.ConsumeGroup(number, value)
		out, changed, ok := r.message(dst, b, depth+1, all, alive)
		if ok && changed && n >= 0 {
			return protowire.AppendTag(out, number, protowire.EndGroupType), true
		}
	}
	return dst, false
}

// varint masks a number as JSON's are; 0 and 1, which may be false and true, stay.
func (r *protoRewriter) varint(v uint64, all bool) uint64 {
	if v < 2 || !all && (v < 1e12 || !r.w.discover || !r.w.patterns[catCard]) {
		return v
	}
	digits := strconv.AppendUint(nil, v, 10)
	if !all && card(digits) != len(digits) {
		return v
	}
	masked, err := strconv.ParseUint(string(r.w.digits(digits)), 10, 64)
	if err != nil { // cannot be: a masked number starts with 10
		return 0
	}
	return masked
}

// bytes masks what may be a message, a string or bytes. What can be read as a
// message is, and what stays after that is looked at as a text too: short texts
// can look like messages (078-05-1120 does).
func (r *protoRewriter) bytes(dst, b []byte, depth int, all bool, alive uint64) ([]byte, bool) {
	if len(b) == 0 || tokenEnd(b, 0) == len(b) {
		return dst, false
	}
	if all && isPrintable(b) {
		return r.w.whole(dst, b)
	}
	masked, changed, isMessage := r.message(r.w.buffer(), b, depth+1, all, alive)
	defer func() { r.w.done(masked) }()
	switch {
	case all && !isMessage:
		return r.w.whole(dst, b)
	case all:
		return append(dst, masked...), changed
	case changed:
		b = masked
	}
	if out, c := r.w.leaf(dst, b, r.in, 0); c {
		return out, true
	}
	return append(dst, masked...), changed
}

// isPrintable says whether bytes are a text without control characters, which
// the tags and lengths of messages mostly are.
func isPrintable(b []byte) bool {
	for _, c := range b {
		if c < ' ' {
			return false
		}
	}
	return utf8.Valid(b)
}

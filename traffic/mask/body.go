package mask

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/speedscale/speedscale/traffic"
)

// ErrNotUnderstood is wrapped by the errors of Mask: rules are active for
// something that cannot be read. The errors say where and why, and hold nothing
// of the pair.
var ErrNotUnderstood = errors.New("cannot be masked because it is not understood")

func notUnderstood(why string) error { return fmt.Errorf("%w: %s", ErrNotUnderstood, why) }

// message is what a body belongs to.
type message struct {
	headers     *[]*traffic.Header
	contentType string
	body        *[]byte
	size        *int64
	in          place
}

// body masks a body in place, and keeps the headers true to it. One that cannot
// be understood is emptied.
func (w *work) body(m message) (changed bool, err error) {
	if changed, err = w.readableBody(m); err != nil {
		*m.size = max(*m.size, int64(len(*m.body)))
		*m.body = nil
		return true, err
	}
	return changed, nil
}

func (w *work) readableBody(m message) (changed bool, err error) {
	body := *m.body
	if len(body) == 0 || !w.active(m.in) {
		return false, nil
	}
	if w.all&m.in != 0 && tokenEnd(body, 0) == len(body) {
		return false, nil
	}
	cut := *m.size > int64(len(body))
	encoding, _ := traffic.HeaderValue(*m.headers, "Content-Encoding")
	encoded := encoding != "" && !strings.EqualFold(encoding, "identity")
	if cut && (encoded || !w.keepsOpaque(m.contentType, body)) {
		// It is known as cut, so nobody takes it for whole: without its bytes it
		// says as much, and cannot leak.
		*m.body = nil
		return true, nil
	}
	plain := body
	if encoded {
		if plain, err = decode(encoding, body); err != nil {
			return false, err
		}
	}
	w.grpcEncoding, _ = traffic.HeaderValue(*m.headers, "Grpc-Encoding")
	masked := w.buffer()
	defer func() { w.done(masked) }()
	if w.all&m.in != 0 && !hasLeaves(mediaType(m.contentType)) {
		masked, changed = w.whole(masked, plain)
	} else {
		masked, changed, err = w.content(masked, plain, m.contentType, m.in, 0)
	}
	if err != nil || !changed {
		return false, err
	}
	m.set(bytes.Clone(masked), encoded)
	return true, nil
}

// set stores a masked body. It is stored without content coding, and hashes of
// what it was are removed: they would be wrong, and could be tried against.
func (m message) set(body []byte, encoded bool) {
	*m.body, *m.size = body, int64(len(body))
	if encoded {
		*m.headers = removeHeaders(*m.headers, "Content-Encoding")
	}
	*m.headers = removeHeaders(*m.headers, "Content-MD5", "Digest", "Content-Digest", "Repr-Digest")
	setHeader(*m.headers, "Content-Length", strconv.Itoa(len(body)))
}

// content appends the masked form of a decoded body.
func (w *work) content(dst, src []byte, contentType string, in place, depth int) ([]byte, bool, error) {
	media := mediaType(contentType)
	switch {
	case len(src) == 0:
		return dst, false, nil
	case isGRPC(media):
		return w.grpc(dst, src, media, in)
	case isProtobuf(media):
		return w.protobuf(dst, src, in)
	case isJSON(media):
		dst, changed, ok := w.json(dst, src, in, 0)
		if !ok {
			return dst, false, notUnderstood("it says it is JSON, and is not")
		}
		return dst, changed, nil
	case media == mediaForm:
		mark := len(dst)
		dst, changed := w.query(dst, src, in)
		if !changed {
			dst = dst[:mark]
		}
		return dst, changed, nil
	case strings.HasPrefix(media, "multipart/"):
		return w.multipart(dst, src, parameter(contentType, "boundary"), in, depth)
	case w.keepsOpaque(contentType, src):
		return dst, false, nil
	case !isText(src, isTextType(media)):
		return dst, false, notUnderstood("it is binary, of a type that cannot be read")
	case media == "text/event-stream":
		dst, changed := w.events(dst, src, in)
		return dst, changed, nil
	}
	dst, changed := w.anyText(dst, src, media, in)
	return dst, changed, nil
}

// anyText masks a text by the form that it has, whatever it is called.
func (w *work) anyText(dst, src []byte, media string, in place) ([]byte, bool) {
	start := bytes.TrimLeft(src, " \t\r\n")
	if len(start) > 0 && (start[0] == '{' || start[0] == '[') {
		if out, changed, ok := w.json(dst, src, in, 0); ok {
			return out, changed
		}
	}
	if len(start) > 0 && start[0] == '<' || strings.HasSuffix(media, "xml") || media == "text/html" {
		return w.markup(dst, src, in)
	}
	return w.text(dst, src, in)
}

// keepsOpaque says whether a body is of a binary type that holds nothing that
// rules could find, such as an image, and truly binary.
func (w *work) keepsOpaque(contentType string, body []byte) bool {
	media := mediaType(contentType)
	for _, t := range w.opaque {
		if media == t || strings.HasSuffix(t, "/") && strings.HasPrefix(media, t) {
			return !isText(body, false)
		}
	}
	return false
}

func mediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// isJSON says whether a media type is JSON (RFC 8259), structured by it
// (RFC 6839), or a sequence of it.
func isJSON(media string) bool {
	switch media {
	case "application/json", "text/json", "application/x-ndjson", "application/ndjson", "application/jsonl", "application/json-seq",
		"application/x-json-stream":
		return true
	}
	return strings.HasSuffix(media, "+json") || strings.HasPrefix(media, "application/x-amz-json")
}

const mediaForm = "application/x-www-form-urlencoded"

// hasLeaves says whether a rule for all of a body of this type masks its leaves;
// of other types the body is one value.
func hasLeaves(media string) bool {
	return isJSON(media) || isGRPC(media) || isProtobuf(media) || media == mediaForm
}

func isGRPC(media string) bool { return strings.HasPrefix(media, "application/grpc") }

func isProtobuf(media string) bool {
	switch media {
	case "application/protobuf", "application/x-protobuf", "application/vnd.google.protobuf":
		return true
	}
	return strings.HasSuffix(media, "+proto") || strings.HasSuffix(media, "+protobuf")
}

// isTextType says whether a type is text, of any character set that has ASCII in it.
func isTextType(media string) bool {
	return strings.HasPrefix(media, "text/") || strings.HasSuffix(media, "xml") || strings.HasSuffix(media, "javascript")
}

// isText says whether bytes can be read as text: UTF-8, or, where it is known to
// be text, anything without bytes 0, such as Latin-1.
func isText(b []byte, known bool) bool {
	if bytes.IndexByte(b, 0) >= 0 {
		return false
	}
	return known || utf8.Valid(b)
}

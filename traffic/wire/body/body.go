// Package body removes and applies HTTP content codings (RFC 9110, section
// 8.4): gzip, deflate, br, zstd and chains of them. What comes out is bounded,
// so a small body cannot become a large one.
package body

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// ErrTooLarge says that a decoded body is longer than the limit.
var ErrTooLarge = errors.New("decoded body is longer than the limit")

// ErrUnsupported says that a content coding is not known.
var ErrUnsupported = errors.New("unsupported content coding")

const (
	// maxCodings bounds a chain; nobody has a use for more.
	maxCodings = 4
	// maxWindow is what RFC 9659 allows a zstd encoder to ask for.
	maxWindow = 8 << 20
)

// Decode removes the codings that a Content-Encoding value names, the last one
// first. No step may give more than limit bytes. On an error it returns what
// the last step gave up to it, which for a body that was cut is its beginning.
// Without a coding it returns body itself.
func Decode(contentEncoding string, body []byte, limit int64) ([]byte, error) {
	codings, err := parse(contentEncoding)
	if err != nil {
		return nil, err
	}
	if len(codings) == 0 && int64(len(body)) > limit {
		return body[:limit], fmt.Errorf("body of %d bytes: %w of %d", len(body), ErrTooLarge, limit)
	}
	for i := len(codings) - 1; i >= 0 && len(body) > 0; i-- {
		if body, err = decode(codings[i], body, limit); err != nil {
			if i > 0 {
				body = nil // still coded
			}
			return body, fmt.Errorf("content coding %q: %w", codings[i], err)
		}
	}
	return body, nil
}

// Encode applies the codings that a Content-Encoding value names, the first one
// first. Without a coding it returns body itself.
func Encode(contentEncoding string, body []byte) ([]byte, error) {
	codings, err := parse(contentEncoding)
	if err != nil {
		return nil, err
	}
	for _, coding := range codings {
		if body, err = encode(coding, body); err != nil {
			return nil, fmt.Errorf("content coding %q: %w", coding, err)
		}
	}
	return body, nil
}

// parse gives the codings of a Content-Encoding value in order, without
// identity, by their lower-case names.
func parse(contentEncoding string) (codings []string, err error) {
	for coding := range strings.SplitSeq(contentEncoding, ",") {
		switch coding = strings.ToLower(strings.TrimSpace(coding)); coding {
		case "", "identity":
		case "x-gzip": // RFC 9110, section 8.4.1.3
			codings = append(codings, "gzip")
		case "gzip", "deflate", "br", "zstd":
			codings = append(codings, coding)
		default:
			return nil, fmt.Errorf("%w %q", ErrUnsupported, coding)
		}
	}
	if len(codings) > maxCodings {
		return nil, fmt.Errorf("%w: %d in one body, at most %d are read", ErrUnsupported, len(codings), maxCodings)
	}
	return codings, nil
}

func decode(coding string, body []byte, limit int64) ([]byte, error) {
	r, err := reader(coding, body)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	out := bytes.NewBuffer(make([]byte, 0, min(limit, int64(2*len(body))+512)))
	_, err = io.Copy(out, io.LimitReader(r, limit+1))
	if int64(out.Len()) > limit {
		return out.Bytes()[:limit], fmt.Errorf("%w of %d bytes", ErrTooLarge, limit)
	}
	return out.Bytes(), err
}

func reader(coding string, body []byte) (io.ReadCloser, error) {
	in := bytes.NewReader(body)
	switch coding {
	case "gzip":
		return gzip.NewReader(in)
	case "deflate":
		// It means the zlib format, but some servers send plain deflate.
		if isZlib(body) {
			return zlib.NewReader(in)
		}
		return flate.NewReader(in), nil
	case "br":
		return io.NopCloser(brotli.NewReader(in)), nil
	default: // zstd
		d, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
}

// isZlib checks the header of RFC 1950, section 2.2: deflate, and a checksum.
func isZlib(b []byte) bool {
	return len(b) >= 2 && b[0]&0x0f == 8 && b[0]>>4 <= 7 && (int(b[0])<<8|int(b[1]))%31 == 0
}

func encode(coding string, body []byte) ([]byte, error) {
	var out bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "deflate":
		w = zlib.NewWriter(&out)
	case "br":
		w = brotli.NewWriterLevel(&out, 4)
	default: // zstd
		e, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
		if err != nil {
			return nil, err
		}
		w = e
	}
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

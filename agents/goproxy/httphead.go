package goproxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
)

// maxHTTPHead is the longest head of a proxied HTTP message, in bytes.
const maxHTTPHead = 1 << 20

var errHeadTooLong = fmt.Errorf("head is longer than %d bytes", maxHTTPHead)

// framing says where the body of an HTTP/1.1 message ends (RFC 9112, section 6.3).
type framing struct {
	chunked bool
	toEnd   bool // it ends with the connection
	length  int64
}

// requestHead is what a proxy must know of a request, and its head rewritten for
// the origin server.
type requestHead struct {
	method string
	to     target
	bytes  []byte
	body   framing
	// last says that the client will send no further request.
	last bool
}

// responseHead is what a proxy must know of a response; its bytes go unchanged.
type responseHead struct {
	status int
	body   framing
	// last says that the server will send no further response.
	last bool
}

// readHead reads to the end of a head: it returns the bytes as they were sent.
// Empty lines before a request line are skipped (RFC 9112, section 2.2).
func readHead(r *bufio.Reader) ([]byte, error) {
	var head []byte
	for {
		line, err := r.ReadSlice('\n')
		empty := len(bytes.TrimRight(line, "\r\n")) == 0 && err == nil
		if empty && len(head) == 0 {
			continue
		}
		if len(head)+len(line) > maxHTTPHead {
			return nil, errHeadTooLong
		}
		whole := len(head) == 0 || head[len(head)-1] == '\n'
		head = append(head, line...)
		switch {
		case err == nil && empty && whole:
			return head, nil
		case err == nil, errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(head) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}

// parseRequest reads the head of a request to a proxy and rewrites it: the
// target to its origin form and Host to what the target says (RFC 9112, section
// 3.2), without the fields that were for the proxy (RFC 9110, section 7.6.1). No
// Via is added: servers answer differently to requests with one (nginx does not
// compress), and a proxy that captures must not be noticed.
func parseRequest(head []byte) (*requestHead, error) {
	line, rest, _ := bytes.Cut(head, []byte("\n"))
	parts := strings.Split(strings.TrimRight(string(line), "\r"), " ")
	if len(parts) != 3 || parts[0] == "" || parts[2] != "HTTP/1.1" && parts[2] != "HTTP/1.0" {
		return nil, errors.New("malformed request line")
	}
	r := &requestHead{method: parts[0]}
	authority, path, err := r.split(parts[1])
	if err != nil {
		return nil, err
	}
	f, err := readFields(rest)
	if err != nil {
		return nil, err
	}
	if r.body, err = f.framing(); err != nil {
		return nil, err
	}
	if r.body.chunked && parts[2] == "HTTP/1.0" {
		return nil, errors.New("HTTP/1.0 has no transfer codings") // RFC 9112, section 6.1
	}
	if r.body.toEnd {
		return nil, errors.New("the request's transfer coding does not end in chunked")
	}
	r.last = f.closes(parts[2] == "HTTP/1.0")
	var b bytes.Buffer
	b.Grow(len(head))
	fmt.Fprintf(&b, "%s %s %s\r\nHost: %s\r\n", r.method, path, parts[2], authority)
	for i := range f.lines {
		l := &f.lines[i]
		switch l.name {
		case "host", "proxy-connection", "proxy-authorization":
			continue
		case "content-length":
			if r.body.chunked {
				continue // RFC 9112, section 6.1
			}
		}
		if f.nominated[l.name] {
			continue
		}
		b.Write(l.raw)
	}
	b.WriteString("\r\n")
	r.bytes = b.Bytes()
	return r, nil
}

// split takes a target in absolute form apart.
func (r *requestHead) split(s string) (authority, path string, err error) {
	u, err := url.Parse(s)
	if err != nil || !u.IsAbs() || u.Host == "" {
		return "", "", errors.New("the proxy wants an absolute URL as the request's target")
	}
	if !strings.EqualFold(u.Scheme, "http") {
		return "", "", fmt.Errorf("the proxy does not speak %q; use CONNECT", u.Scheme)
	}
	port := uint64(80)
	if p := u.Port(); p != "" {
		if port, err = strconv.ParseUint(p, 10, 16); err != nil || port == 0 {
			return "", "", fmt.Errorf("port %q is not within 1 and 65535", p)
		}
	}
	r.to = target{host: u.Hostname(), port: uint16(port)}
	// The path goes on as it was written, which url.URL would not keep.
	rest := s[strings.Index(s, "//")+2:]
	path = "/"
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		if path = rest[i:]; path[0] != '/' {
			path = "/" + path
		}
		path, _, _ = strings.Cut(path, "#")
	} else if r.method == "OPTIONS" {
		path = "*" // RFC 9112, section 3.2.4
	}
	return u.Host, path, nil
}

// parseResponse reads the head of a response to a request of the given method.
func parseResponse(head []byte, method string) (*responseHead, error) {
	line, rest, _ := bytes.Cut(head, []byte("\n"))
	version, text, _ := strings.Cut(strings.TrimRight(string(line), "\r"), " ")
	code, _, _ := strings.Cut(text, " ")
	status, err := strconv.Atoi(code)
	if err != nil || len(code) != 3 || !strings.HasPrefix(version, "HTTP/1.") {
		return nil, errors.New("malformed status line")
	}
	f, err := readFields(rest)
	if err != nil {
		return nil, err
	}
	r := &responseHead{status: status, last: f.closes(version == "HTTP/1.0")}
	if method == "HEAD" || status < 200 || status == 204 || status == 304 {
		return r, nil
	}
	if r.body, err = f.framing(); err != nil {
		return nil, err
	}
	if !f.framed {
		r.body.toEnd = true
	}
	r.last = r.last || r.body.toEnd
	return r, nil
}

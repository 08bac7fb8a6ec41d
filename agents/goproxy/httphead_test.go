package goproxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A head that is rewritten must mean to a server what it meant to us: the same
// method, host and framing, and nothing that was for the proxy.
func FuzzParseRequest(f *testing.F) {
	f.Add([]byte("GET http://a.example:81/x?q#f HTTP/1.1\r\nHost: b\r\nProxy-Connection: close\r\nConnection: X\r\nX: 1\r\n\r\n"))
	f.Add([]byte("OPTIONS http://a.example HTTP/1.1\r\nHost: b\r\n\r\n"))
	f.Add([]byte("POST http://u:p@a.example/ HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		head, err := readHead(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		req, err := parseRequest(head)
		if err != nil {
			return
		}
		if bytes.Contains(bytes.ToLower(req.bytes), []byte("\nproxy-authorization:")) {
			t.Errorf("credentials go on in %q", req.bytes)
		}
		again, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(req.bytes)))
		if err != nil {
			return // the server will refuse it
		}
		if again.Method != req.method {
			t.Errorf("method %q became %q", req.method, again.Method)
		}
		if !strings.Contains(strings.ToLower(again.Host), strings.ToLower(req.to.host)) {
			t.Errorf("host %q became %q", req.to.host, again.Host)
		}
		if chunked := len(again.TransferEncoding) > 0; chunked != req.body.chunked {
			t.Errorf("chunked is %v to us and %v to a server: %q", req.body.chunked, chunked, req.bytes)
		}
		if !req.body.chunked && again.ContentLength != req.body.length {
			t.Errorf("length is %d to us and %d to a server: %q", req.body.length, again.ContentLength, req.bytes)
		}
	})
}

// FuzzParseResponse checks the framing of responses against net/http's.
func FuzzParseResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), "GET")
	f.Add([]byte("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"), "GET")
	f.Add([]byte("HTTP/1.0 200 OK\r\n\r\n"), "HEAD")
	f.Fuzz(func(t *testing.T, b []byte, method string) {
		head, err := readHead(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		res, err := parseResponse(head, method)
		if err != nil {
			return
		}
		again, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), &http.Request{Method: method})
		if err != nil || method == "CONNECT" {
			return
		}
		again.Body.Close()
		if again.StatusCode != res.status {
			t.Errorf("status %d is %d to a client", res.status, again.StatusCode)
		}
		if method != "HEAD" && !res.body.chunked && !res.body.toEnd && again.ContentLength > 0 && again.ContentLength != res.body.length {
			t.Errorf("length is %d to us and %d to a client: %q", res.body.length, again.ContentLength, head)
		}
	})
}

func TestHeadBounds(t *testing.T) {
	long := io.MultiReader(strings.NewReader("GET http://x/ HTTP/1.1\r\nX: "), io.LimitReader(zeros{}, 2*maxHTTPHead))
	if _, err := readHead(bufio.NewReader(long)); !errors.Is(err, errHeadTooLong) {
		t.Errorf("error is %v", err)
	}
	if _, err := readHead(bufio.NewReader(strings.NewReader("GET http://x/ HTTP/1.1\r\nX: 1\r\n"))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error is %v", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '0'
	}
	return len(b), nil
}

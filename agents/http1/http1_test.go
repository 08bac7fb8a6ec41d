package http1_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/agents/http1"
)

// dump writes what a Reader found in a form that is easy to compare.
func dump(m *http1.Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s|%s|%s minor=%d close=%t size=%d body=%q", m.Start[0].Of(m.Head), m.Start[1].Of(m.Head),
		m.Start[2].Of(m.Head), m.Minor, m.Close, m.BodySize, m.Body)
	for _, f := range m.Fields {
		fmt.Fprintf(&b, " %s=%q", f.Name.Of(m.Head), f.Value.Of(m.Head))
	}
	for _, f := range m.TrailerFields {
		fmt.Fprintf(&b, " trailer %s=%q", f.Name.Of(m.Trailer), f.Value.Of(m.Trailer))
	}
	return b.String()
}

func readRequests(r io.Reader) (out []string, err error) {
	reader := http1.NewReader(r)
	reader.MaxHead, reader.MaxBody = 600, 64
	var m http1.Message
	for len(out) < 10 {
		if err := reader.ReadRequestHead(&m); err != nil {
			return out, err
		}
		if err := reader.ReadBody(&m); err != nil {
			return out, err
		}
		out = append(out, dump(&m))
	}
	return out, nil
}

func readResponses(r io.Reader, method string) (out []string, err error) {
	reader := http1.NewReader(r)
	reader.MaxHead, reader.MaxBody = 600, 64
	var m http1.Message
	for len(out) < 10 {
		if err := reader.ReadResponse(method, &m); err != nil {
			return out, err
		}
		out = append(out, dump(&m))
		if m.Close {
			return out, nil
		}
	}
	return out, nil
}

func TestReadRequest(t *testing.T) {
	long := strings.Repeat("x", 100)
	tests := []struct {
		name, in string
		want     []string
		status   int   // of a ProtocolError
		err      error // otherwise
	}{
		{name: "fields keep order and case", in: "GET /a?b=%2F HTTP/1.1\r\nhOst: h\r\nX-B:  two words \t\r\nX-A:\r\n\r\n",
			want: []string{`GET|/a?b=%2F|HTTP/1.1 minor=1 close=false size=0 body="" hOst="h" X-B="two words" X-A=""`}, err: io.EOF},
		{name: "pipelined", in: "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.0\r\n\r\n",
			want: []string{`POST|/|HTTP/1.1 minor=1 close=false size=3 body="abc" Content-Length="3"`, `GET|/2|HTTP/1.0 minor=0 close=true size=0 body=""`}, err: io.EOF},
		{name: "chunked with extension and trailer", in: "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n4;a=b\r\nwiki\r\n0B \r\npedia in ch\r\n0\r\nX-T: v\r\n\r\n",
			want: []string{`POST|/|HTTP/1.1 minor=1 close=false size=15 body="wikipedia in ch" Transfer-Encoding="Chunked" trailer X-T="v"`}, err: io.EOF},
		{name: "empty lines before the request and bare line feeds", in: "\r\n\nGET / HTTP/1.1\nA: b\n\n",
			want: []string{`GET|/|HTTP/1.1 minor=1 close=false size=0 body="" A="b"`}, err: io.EOF},
		{name: "body over the limit is cut and counted", in: "POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n" + long + "GET / HTTP/1.1\r\n\r\n",
			want: []string{fmt.Sprintf(`POST|/|HTTP/1.1 minor=1 close=false size=100 body=%q Content-Length="100"`, long[:64]), `GET|/|HTTP/1.1 minor=1 close=false size=0 body=""`}, err: io.EOF},
		{name: "connection close", in: "GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n",
			want: []string{`GET|/|HTTP/1.1 minor=1 close=true size=0 body="" Connection="x, Close"`}, err: io.EOF},
		{name: "ends in the head", in: "GET / HTTP/1.1\r\nA", err: io.ErrUnexpectedEOF},
		{name: "ends in the body", in: "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", err: io.ErrUnexpectedEOF},
		{name: "ends in a chunk", in: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", err: io.ErrUnexpectedEOF},
		{name: "length and coding", in: "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 400},
		{name: "two lengths", in: "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", status: 400},
		{name: "two hosts", in: "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", status: 400},
		{name: "signed length", in: "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc", status: 400},
		{name: "chunked not last", in: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", status: 400},
		{name: "chunked twice", in: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 400},
		{name: "other coding", in: "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", status: 501},
		{name: "chunk size is not hexadecimal", in: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", status: 400},
		{name: "chunk longer than its size", in: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", status: 400},
		{name: "space before the colon", in: "GET / HTTP/1.1\r\nA : b\r\n\r\n", status: 400},
		{name: "folded line", in: "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", status: 400},
		{name: "control character", in: "GET / HTTP/1.1\r\nA: b\x00c\r\n\r\n", status: 400},
		{name: "carriage return in a value", in: "GET / HTTP/1.1\r\nA: b\rX: c\r\n\r\n", status: 400},
		{name: "space in the target", in: "GET /a b HTTP/1.1\r\n\r\n", status: 400},
		{name: "no version", in: "GET /\r\n\r\n", status: 400},
		{name: "HTTP/2", in: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status: 505},
		{name: "TLS", in: "\x16\x03\x01\x02\x00\x01\x00\n", status: 400},
		{name: "head over the limit", in: "GET / HTTP/1.1\r\nA: " + strings.Repeat("a", 600) + "\r\n\r\n", status: 431},
		{name: "head over the limit without an end", in: strings.Repeat("a", 5000), status: 431},
		{name: "trailer over the limit", in: "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: " + strings.Repeat("a", 600) + "\r\n\r\n", status: 431},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name, src := range map[string]io.Reader{
				"whole": strings.NewReader(tt.in), "by byte": iotest.OneByteReader(strings.NewReader(tt.in)),
			} {
				got, err := readRequests(src)
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("%s: requests (-want +got):\n%s", name, diff)
				}
				if pe, ok := errors.AsType[*http1.ProtocolError](err); tt.status != 0 && (!ok || pe.Status != tt.status) {
					t.Errorf("%s: error %v, want status %d", name, err, tt.status)
				} else if tt.err != nil && !errors.Is(err, tt.err) {
					t.Errorf("%s: error %v, want %v", name, err, tt.err)
				}
			}
		})
	}
}

func TestReadResponse(t *testing.T) {
	tests := []struct {
		name, method, in string
		want             []string
		wantErr          bool
	}{
		{name: "length", in: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
			want: []string{`HTTP/1.1|200|OK minor=1 close=false size=2 body="ok" Content-Length="2"`,
				`HTTP/1.1|404|Not Found minor=1 close=true size=0 body="" Content-Length="0" Connection="close"`}},
		{name: "until the end", in: "HTTP/1.1 200 \r\n\r\nall of it", want: []string{`HTTP/1.1|200| minor=1 close=true size=9 body="all of it"`}},
		{name: "no reason", in: "HTTP/1.0 200\r\n\r\n", want: []string{`HTTP/1.0|200| minor=0 close=true size=0 body=""`}},
		{name: "HEAD", method: "HEAD", in: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
			want: []string{`HTTP/1.1|200|OK minor=1 close=false size=0 body="" Content-Length="5"`,
				`HTTP/1.1|200|OK minor=1 close=true size=0 body="" Transfer-Encoding="chunked" Connection="close"`}},
		{name: "not modified has no body", in: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
			want: []string{`HTTP/1.1|304|Not Modified minor=1 close=false size=0 body="" Content-Length="5"`,
				`HTTP/1.1|204|No Content minor=1 close=true size=0 body="" Connection="close"`}},
		{name: "interim responses", in: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na",
			want: []string{`HTTP/1.1|200|OK minor=1 close=true size=1 body="a" Connection="close" Content-Length="1"`}},
		{name: "upgrade", in: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nbytes of x",
			want: []string{`HTTP/1.1|101|Switching Protocols minor=1 close=true size=0 body="" Upgrade="x"`}},
		{name: "folded line", in: "HTTP/1.1 200 OK\r\nA: b\r\n  c\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
			want: []string{`HTTP/1.1|200|OK minor=1 close=true size=0 body="" A="b    c" Content-Length="0" Connection="close"`}},
		{name: "coding wins over length, and ends the connection", in: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
			want: []string{`HTTP/1.1|200|OK minor=1 close=true size=1 body="a" Content-Length="9" Transfer-Encoding="chunked"`}},
		{name: "not HTTP", in: "SSH-2.0-OpenSSH_9.2\r\n", wantErr: true},
		{name: "endless interim responses", in: strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 50), wantErr: true},
		{name: "short body", in: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", wantErr: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name, src := range map[string]io.Reader{
				"whole": strings.NewReader(tt.in), "by byte": iotest.OneByteReader(strings.NewReader(tt.in)),
			} {
				got, err := readResponses(src, orGet(tt.method))
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("%s: responses (-want +got):\n%s", name, diff)
				}
				if (err != nil) != tt.wantErr {
					t.Errorf("%s: error %v", name, err)
				}
			}
		})
	}
}

func orGet(method string) string {
	if method == "" {
		return "GET"
	}
	return method
}

// TestReadLongBody reads bodies of many times the buffer, in every framing, one
// after the other on one connection.
func TestReadLongBody(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	var in bytes.Buffer
	fmt.Fprintf(&in, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	fmt.Fprintf(&in, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	for part := range slices.Chunk(body, 7919) {
		fmt.Fprintf(&in, "%x\r\n%s\r\n", len(part), part)
	}
	fmt.Fprintf(&in, "0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n%s", body)
	for name, src := range map[string]io.Reader{
		"whole": bytes.NewReader(in.Bytes()), "by half": iotest.HalfReader(bytes.NewReader(in.Bytes())),
	} {
		reader := http1.NewReader(src)
		var m http1.Message
		for i := range 3 {
			if err := reader.ReadResponse("GET", &m); err != nil {
				t.Fatalf("%s: response %d: %v", name, i, err)
			}
			if !bytes.Equal(m.Body, body) || m.BodySize != int64(len(body)) {
				t.Errorf("%s: response %d: body of %d bytes, size %d, want %d", name, i, len(m.Body), m.BodySize, len(body))
			}
			if v, ok := m.Get("content-length"); i == 0 && (!ok || string(v) != strconv.Itoa(len(body))) {
				t.Errorf("%s: the head changed while the body was read: %q", name, m.Head)
			}
		}
	}
}

// FuzzRequest checks that the reading does not depend on how the bytes arrive,
// and that it agrees with net/http where both accept a request.
func FuzzRequest(f *testing.F) {
	f.Add([]byte("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4;a=b\r\nwiki\r\n0\r\nX-T: v\r\n\r\nGET / HTTP/1.0\r\n\r\n"))
	f.Add([]byte("PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"))
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, err := readRequests(bytes.NewReader(in))
		split, splitErr := readRequests(iotest.OneByteReader(bytes.NewReader(in)))
		if diff := cmp.Diff(whole, split); diff != "" || fmt.Sprint(err) != fmt.Sprint(splitErr) {
			t.Fatalf("whole: %v, by byte: %v\n%s", err, splitErr, diff)
		}
		var m http1.Message
		r := http1.NewReader(bytes.NewReader(in))
		if r.ReadRequestHead(&m) != nil || r.ReadBody(&m) != nil {
			return
		}
		want, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(in)))
		if err != nil {
			return
		}
		body, err := io.ReadAll(want.Body)
		if err != nil {
			return
		}
		if want.RequestURI != string(m.Start[1].Of(m.Head)) || !bytes.Equal(body, m.Body) {
			t.Errorf("%s with %q, net/http reads %s with %q", m.Start[1].Of(m.Head), m.Body, want.RequestURI, body)
		}
	})
}

// FuzzResponse does the same for responses.
func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;a=b\r\nwiki\r\n0\r\nX-T: v\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 3\r\n\r\nabcHTTP/1.0 404 \r\n\r\nuntil the end"))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, method := range []string{"GET", "HEAD", "CONNECT"} {
			whole, err := readResponses(bytes.NewReader(in), method)
			split, splitErr := readResponses(iotest.OneByteReader(bytes.NewReader(in)), method)
			if diff := cmp.Diff(whole, split); diff != "" || fmt.Sprint(err) != fmt.Sprint(splitErr) {
				t.Fatalf("%s: whole: %v, by byte: %v\n%s", method, err, splitErr, diff)
			}
		}
		var m http1.Message
		if http1.NewReader(bytes.NewReader(in)).ReadResponse("GET", &m) != nil || m.Status < 200 || m.Minor == 0 {
			return // net/http ignores transfer codings in HTTP/1.0
		}
		br := bufio.NewReader(bytes.NewReader(in))
		want, err := http.ReadResponse(br, nil)
		for err == nil && want.StatusCode < 200 {
			want, err = http.ReadResponse(br, nil)
		}
		if err != nil {
			return
		}
		body, err := io.ReadAll(want.Body)
		if err != nil {
			return
		}
		if want.StatusCode != m.Status || !bytes.Equal(body, m.Body) {
			t.Errorf("%d with %q, net/http reads %d with %q", m.Status, m.Body, want.StatusCode, body)
		}
	})
}

func BenchmarkReadRequest(b *testing.B) {
	in := "GET /a/b?c=d HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: bench\r\nAccept: */*\r\nX-Request-Id: 0123456789\r\n\r\n"
	src := &repeat{text: in}
	r := http1.NewReader(src)
	var m http1.Message
	b.ReportAllocs()
	for b.Loop() {
		if err := r.ReadRequestHead(&m); err != nil {
			b.Fatal(err)
		}
		if err := r.ReadBody(&m); err != nil {
			b.Fatal(err)
		}
	}
}

// repeat gives the same text with each read.
type repeat struct{ text string }

func (r *repeat) Read(p []byte) (int, error) { return copy(p, r.text), nil }

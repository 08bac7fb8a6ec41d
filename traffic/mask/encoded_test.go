package mask_test

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/wire/body"
)

func TestContentCodings(t *testing.T) {
	const secret = "pl4nted@example.com"
	m := masker(t, mask.Standard())
	for _, coding := range []string{"gzip", "x-gzip", "deflate", "br", "zstd", "gzip, br"} {
		coded, err := body.Encode(coding, []byte(`{"mail":"`+secret+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		p := request("application/json", string(coded))
		addHeader(p, "content-encoding", coding)
		addHeader(p, "Digest", "sha-256=x")
		if _, err := m.Mask(p); err != nil {
			t.Errorf("%s: %v", coding, err)
			continue
		}
		mustNotHold(t, p, secret)
		if got := tokens(string(p.Http.Req.Body)); got != `{"mail":"REDACTED-EMAIL-#"}` {
			t.Errorf("%s: %q", coding, got)
		}
		for _, h := range p.Http.Req.Headers[2:] {
			t.Errorf("%s: the header %s is left", coding, h.Name)
		}
	}
	clean, err := body.Encode("gzip", []byte(`{"a":"b"}`))
	if err != nil {
		t.Fatal(err)
	}
	p := request("application/json", string(clean))
	addHeader(p, "Content-Encoding", "gzip")
	if changed, err := m.Mask(p); changed || err != nil || string(p.Http.Req.Body) != string(clean) || len(p.Http.Req.Headers) != 3 {
		t.Errorf("a body without a secret does not stay as it was sent: changed %v, %v", changed, err)
	}
	for coding, b := range map[string]string{"gzip": string(clean[:len(clean)-9]), "br": "\xff\xff\xff", "secret-coding": "x", "zstd": "x"} {
		p := request("text/plain", b)
		addHeader(p, "Content-Encoding", coding)
		if _, err := m.Mask(p); !errors.Is(err, mask.ErrNotUnderstood) {
			t.Errorf("%s: error %v, want ErrNotUnderstood", coding, err)
		}
	}
}

// message writes fields: strings and messages as bytes, numbers as varints.
func message(fields ...any) []byte {
	var b []byte
	for i := 0; i < len(fields); i += 2 {
		n := protowire.Number(fields[i].(int))
		switch v := fields[i+1].(type) {
		case string:
			b = protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), v)
		case []byte:
			b = protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
		case int:
			b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(v))
		case float64:
			b = protowire.AppendFixed64(protowire.AppendTag(b, n, protowire.Fixed64Type), math.Float64bits(v))
		}
	}
	return b
}

func frame(flag byte, message []byte) string {
	b := binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(message)))
	return string(append(b, message...))
}

func TestGRPC(t *testing.T) {
	const email, plain = "pl4nted@example.com", "a name\n"
	inner := message(1, email, 2, 42, 3, message(1, "078-05-1120", 2, `{"password":"pl4nted"}`))
	gzipped, err := body.Encode("gzip", message(7, inner))
	if err != nil {
		t.Fatal(err)
	}
	m := masker(t, mask.Standard())
	p := request("application/grpc+proto", frame(0, message(1, plain, 2, inner, 9, 1.5))+frame(0, nil)+frame(1, gzipped)+frame(0, message(4, plain)))
	p.L7Protocol = traffic.GRPCProtocol
	addHeader(p, "grpc-encoding", "gzip")
	if _, err := m.Mask(p); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"pl4nted", "078-05-1120"} {
		mustNotHold(t, p, secret)
	}
	// The masked form is built from the tokens that it has, to compare bytes.
	found := hash.FindAllString(string(p.Http.Req.Body), -1)
	if len(found) != 6 || found[0] != found[3] {
		t.Fatalf("masked values: %q", found)
	}
	masked := message(1, found[0], 2, 42, 3, message(1, found[1], 2, `{"password":"`+found[2]+`"}`))
	want := frame(0, message(1, plain, 2, masked, 9, 1.5)) + frame(0, nil) + frame(0, message(7, masked)) + frame(0, message(4, plain))
	if got := string(p.Http.Req.Body); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	once := proto.CloneOf(p)
	if changed, err := m.Mask(p); changed || err != nil || !proto.Equal(once, p) {
		t.Errorf("masking again: changed %v, %v", changed, err)
	}
	for name, b := range map[string]string{"cut frame": "\x00\x00\x00\x00\x09abc", "cut head": "\x00\x00", "no message": frame(0, []byte("\xff")),
		"unknown coding": frame(1, []byte("x"))} {
		if _, err := m.Mask(request("application/grpc", b)); !errors.Is(err, mask.ErrNotUnderstood) {
			t.Errorf("%s: error %v, want ErrNotUnderstood", name, err)
		}
	}
}

func TestGRPCByPath(t *testing.T) {
	m := masker(t, config(t, `{"id":"x","redactlist":{"entries":{"http.req.body":["$.2.1","$.3"]}}}`))
	p := request("application/grpc", frame(0, message(1, "a", 2, message(1, "b", 2, "c"), 2, message(1, "d"), 3, message(1, "e", 2, 77, 3, 1, 4, 2.0))))
	if _, err := m.Mask(p); err != nil {
		t.Fatal(err)
	}
	found := hash.FindAllString(string(p.Http.Req.Body), -1)
	if len(found) != 3 {
		t.Fatalf("masked values: %q", found)
	}
	want := frame(0, message(1, "a", 2, message(1, found[0], 2, "c"), 2, message(1, found[1]), 3, message(1, found[2], 2, 10, 3, 1, 4, 0.0)))
	if got := string(p.Http.Req.Body); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func FuzzProtobuf(f *testing.F) {
	f.Add(message(1, "a@b.cc", 2, message(1, 5, 2, "078-05-1120")))
	f.Add([]byte("\x0b\x08\x01\x0c"))
	m := masker(f, mask.Standard())
	const secret = "pl4nted@example.com"
	f.Fuzz(func(t *testing.T, b []byte) {
		p := request("application/grpc", frame(0, message(15, secret, 16, b)))
		if _, err := m.Mask(p); err != nil {
			t.Fatal(err)
		}
		masked := p.Http.Req.Body
		if int(binary.BigEndian.Uint32(masked[1:])) != len(masked)-5 {
			t.Fatalf("%q has a wrong length", masked)
		}
		for src := masked[5:]; len(src) > 0; {
			_, _, n := protowire.ConsumeField(src)
			if n < 0 {
				t.Fatalf("%q became %q, which is no message", b, masked)
			}
			src = src[n:]
		}
		if hash.FindString(string(masked)) == "" {
			t.Fatalf("%q: nothing is masked", masked)
		}
	})
}

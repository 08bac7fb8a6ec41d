package grpcmsg_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire/grpcmsg"
)

func TestSplit(t *testing.T) {
	body := []byte("\x00\x00\x00\x00\x02ab\x01\x00\x00\x00\x01c\x00\x00\x00\x00\x00")
	messages, err := grpcmsg.Split(body)
	want := []grpcmsg.Message{{Data: []byte("ab")}, {Compressed: true, Data: []byte("c")}, {Data: []byte{}}}
	if diff := cmp.Diff(want, messages); diff != "" || err != nil {
		t.Fatalf("%v (-want +got):\n%s", err, diff)
	}
	if got := join(messages); !bytes.Equal(got, body) {
		t.Errorf("joined %q, want %q", got, body)
	}
	for _, cut := range []int{3, 6, 9} {
		got, err := grpcmsg.Split(body[:cut])
		if !errors.Is(err, grpcmsg.ErrCut) || len(got) != cut/7 {
			t.Errorf("first %d bytes: %d messages, %v; want %d and ErrCut", cut, len(got), err, cut/7)
		}
	}
	if _, err := grpcmsg.Split([]byte("\x02\x00\x00\x00\x00")); err == nil || errors.Is(err, grpcmsg.ErrCut) {
		t.Errorf("flag 2: %v, want another error than ErrCut", err)
	}
}

// TestFieldsAreReadable: every leaf has a text, and all of them together are the message.
func TestFieldsAreReadable(t *testing.T) {
	b := real(t)
	fields, err := grpcmsg.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(encode(nil, fields), b) {
		t.Error("the fields are another message")
	}
	var got []string
	leaves("", fields, func(path, text string) { got = append(got, path+"="+text[:min(len(text), 9)]) })
	want := []string{".1=//4AAQ==", ".2=184467440", ".12=GET", ".13=/ä", ".16.1.4=GET",
		".16.1.6.1=A", ".16.1.6.2=1", ".16.1.6.1=B", ".16.1.6.2=xxxxxxxxx", ".28=300"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("leaves (-want +got):\n%s", diff)
	}
}

func leaves(path string, fields grpcmsg.Fields, leaf func(path, text string)) {
	for i := range fields {
		f := &fields[i]
		at := fmt.Sprintf("%s.%d", path, f.ID)
		if f.Type == grpcmsg.Nested || f.Type == grpcmsg.Group {
			leaves(at, f.Fields, leaf)
		} else {
			leaf(at, f.AsString())
		}
	}
}

// encode writes fields as they were read.
func encode(b []byte, fields grpcmsg.Fields) []byte {
	for i := range fields {
		switch f := &fields[i]; f.Type {
		case grpcmsg.Varint:
			b = protowire.AppendVarint(protowire.AppendTag(b, f.ID, protowire.VarintType), f.Number)
		case grpcmsg.Fixed32:
			b = protowire.AppendFixed32(protowire.AppendTag(b, f.ID, protowire.Fixed32Type), uint32(f.Number))
		case grpcmsg.Fixed64:
			b = protowire.AppendFixed64(protowire.AppendTag(b, f.ID, protowire.Fixed64Type), f.Number)
		case grpcmsg.Group:
			b = encode(protowire.AppendTag(b, f.ID, protowire.StartGroupType), f.Fields)
			b = protowire.AppendTag(b, f.ID, protowire.EndGroupType)
		case grpcmsg.Nested:
			b = protowire.AppendBytes(protowire.AppendTag(b, f.ID, protowire.BytesType), encode(nil, f.Fields))
		default:
			b = protowire.AppendString(protowire.AppendTag(b, f.ID, protowire.BytesType), f.Text)
		}
	}
	return b
}

// join puts messages into one body again.
func join(messages []grpcmsg.Message) (b []byte) {
	for _, m := range messages {
		flag := byte(0)
		if m.Compressed {
			flag = 1
		}
		b = binary.BigEndian.AppendUint32(append(b, flag), uint32(len(m.Data)))
		b = append(b, m.Data...)
	}
	return b
}

// real is a message that protobuf itself wrote.
func real(t testing.TB) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&traffic.RRPair{
		Uuid: []byte{0xff, 0xfe, 0, 1}, Ts: -5, Command: "GET", Location: "/ä", WireformatSize: 300,
		Http: &traffic.HTTP{Req: &traffic.HTTPRequest{Method: "GET", Headers: []*traffic.Header{{Name: "A", Value: "1"}, {Name: "B", Value: strings.Repeat("x", 200)}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWrongMessages(t *testing.T) {
	for what, b := range map[string]string{
		"field number 0":      "\x00\x01",
		"cut varint":          "\x08\x80",
		"long varint":         "\x08\x80\x00",
		"long tag":            "\x88\x00\x01",
		"cut string":          "\x0a\x05abc",
		"group without end":   "\x0b\x08\x01",
		"end without a group": "\x0c",
		"group within group":  strings.Repeat("\x0b", 1000) + strings.Repeat("\x0c", 1000),
	} {
		if f, err := grpcmsg.Decode([]byte(b)); err == nil {
			t.Errorf("%s: %v, want an error", what, f)
		}
	}
	many := bytes.Repeat([]byte("\x08\x01"), 300_000)
	if _, err := grpcmsg.Decode(many); err == nil {
		t.Error("no error for 300,000 fields")
	}
}

func TestDeepMessagesStayBytes(t *testing.T) {
	b := []byte("\x08\x01")
	for range 100 {
		b = protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), b)
	}
	fields, err := grpcmsg.Decode(b)
	if err != nil || !bytes.Equal(encode(nil, fields), b) {
		t.Errorf("%v; does not encode to the same bytes", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(real(f))
	f.Add([]byte("\x0b\x08\x01\x0c\x12\x04\x0a\x02hi"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fields, err := grpcmsg.Decode(b)
		if err != nil {
			return
		}
		if got := encode(nil, fields); !bytes.Equal(got, b) {
			t.Fatalf("%x encodes to %x", b, got)
		}
	})
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x02ab\x01\x00\x00\x00\x01c"))
	f.Fuzz(func(t *testing.T, b []byte) {
		messages, err := grpcmsg.Split(b)
		joined := join(messages)
		if !bytes.HasPrefix(b, joined) || err == nil && len(joined) != len(b) {
			t.Fatalf("%x split and joined is %x (%v)", b, joined, err)
		}
	})
}

package grpcmsg_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire/grpcmsg"
)

func TestSplitAndJoin(t *testing.T) {
	body := []byte("\x00\x00\x00\x00\x02ab\x01\x00\x00\x00\x01c\x00\x00\x00\x00\x00")
	messages, err := grpcmsg.Split(body)
	want := []grpcmsg.Message{{Data: []byte("ab")}, {Compressed: true, Data: []byte("c")}, {Data: []byte{}}}
	if diff := cmp.Diff(want, messages); diff != "" || err != nil {
		t.Fatalf("%v (-want +got):\n%s", err, diff)
	}
	if got := grpcmsg.Join(messages); !bytes.Equal(got, body) {
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

func TestCompressedMessages(t *testing.T) {
	plain := []byte(strings.Repeat("again ", 100))
	for _, encoding := range []string{"gzip", "deflate", "zstd", "identity"} {
		m, err := grpcmsg.Message{Compressed: true}.WithPlain(encoding, plain)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Plain(encoding, 1000)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %d bytes, %v", encoding, len(got), err)
		}
		if _, err := m.Plain(encoding, 100); err == nil {
			t.Errorf("%s: no error beyond the limit", encoding)
		}
	}
	if got, err := (grpcmsg.Message{Data: plain}).Plain("gzip", 1000); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("not compressed: %d bytes, %v", len(got), err)
	}
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

func TestJSONForm(t *testing.T) {
	var b []byte
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendString(b, "name")
	b = protowire.AppendTag(b, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, 42)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendBytes(b, []byte("\x08\x01\x12\x02hi"))
	b = protowire.AppendTag(b, 3, protowire.BytesType)
	b = protowire.AppendBytes(b, []byte{0xff, 0})
	b = protowire.AppendTag(b, 4, protowire.Fixed32Type)
	b = protowire.AppendFixed32(b, 7)
	b = protowire.AppendTag(b, 5, protowire.StartGroupType)
	b = protowire.AppendTag(b, 5, protowire.EndGroupType)
	fields, err := grpcmsg.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"fieldsMap":{` +
		`"1":{"fields":[{"id":1,"type":"VARINT","asString":"42"}]},` +
		`"2":{"fields":[{"id":2,"type":"STRING","asString":"name"},{"id":2,"type":"MESSAGE","fieldsMap":{` +
		`"1":{"fields":[{"id":1,"type":"VARINT","asString":"1"}]},"2":{"fields":[{"id":2,"type":"STRING","asString":"hi"}]}}}]},` +
		`"3":{"fields":[{"id":3,"type":"BYTES","asString":"/wA="}]},` +
		`"4":{"fields":[{"id":4,"type":"FIXED32","asString":"7"}]},` +
		`"5":{"fields":[{"id":5,"type":"GROUP"}]}}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var back grpcmsg.Fields
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if again, _ := json.Marshal(back); !bytes.Equal(again, got) {
		t.Errorf("read and written again: %s", again)
	}
}

func TestChangingALeafChangesOnlyThat(t *testing.T) {
	b := real(t)
	fields, err := grpcmsg.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(fields.Encode(), b) {
		t.Fatal("unchanged message encodes to other bytes")
	}
	var paths []string
	fields.Walk(func(path string, leaf *grpcmsg.Field) bool {
		paths = append(paths, path+"="+leaf.AsString()[:min(len(leaf.AsString()), 9)])
		if leaf.AsString() == "GET" && len(paths) > 4 || len(leaf.Text) == 200 {
			if err := leaf.SetString("REDACTED"); err != nil {
				t.Error(err)
			}
		}
		return true
	})
	want := []string{"fieldsMap.1.fields[0].asString=//4AAQ==", "fieldsMap.2.fields[0].asString=184467440",
		"fieldsMap.12.fields[0].asString=GET", "fieldsMap.13.fields[0].asString=/ä",
		"fieldsMap.16.fields[0].fieldsMap.1.fields[0].fieldsMap.4.fields[0].asString=GET",
		"fieldsMap.16.fields[0].fieldsMap.1.fields[0].fieldsMap.6.fields[0].fieldsMap.1.fields[0].asString=A",
		"fieldsMap.16.fields[0].fieldsMap.1.fields[0].fieldsMap.6.fields[0].fieldsMap.2.fields[0].asString=1",
		"fieldsMap.16.fields[0].fieldsMap.1.fields[0].fieldsMap.6.fields[1].fieldsMap.1.fields[0].asString=B",
		"fieldsMap.16.fields[0].fieldsMap.1.fields[0].fieldsMap.6.fields[1].fieldsMap.2.fields[0].asString=xxxxxxxxx",
		"fieldsMap.28.fields[0].asString=300"}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	var p traffic.RRPair
	if err := proto.Unmarshal(fields.Encode(), &p); err != nil {
		t.Fatal(err)
	}
	if p.Command != "GET" || p.Http.Req.Method != "REDACTED" || p.Http.Req.Headers[1].Value != "REDACTED" || p.Ts != -5 {
		t.Errorf("after the change: %v", &p)
	}
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
	for what, s := range map[string]string{
		"key":   `{"fieldsMap":{"x":{}}}`,
		"id":    `{"fieldsMap":{"1":{"fields":[{"id":2,"type":"VARINT","asString":"1"}]}}}`,
		"type":  `{"fieldsMap":{"1":{"fields":[{"id":1,"type":"BOOL","asString":"1"}]}}}`,
		"value": `{"fieldsMap":{"1":{"fields":[{"id":1,"type":"FIXED32","asString":"4294967296"}]}}}`,
		"empty": `{"fieldsMap":{"1":{"fields":[{"id":1,"type":"STRING"}]}}}`,
	} {
		var f grpcmsg.Fields
		if err := json.Unmarshal([]byte(s), &f); err == nil {
			t.Errorf("%s: %v, want an error", what, f)
		}
	}
}

func TestDeepMessagesStayBytes(t *testing.T) {
	b := []byte("\x08\x01")
	for range 100 {
		b = protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), b)
	}
	fields, err := grpcmsg.Decode(b)
	if err != nil || !bytes.Equal(fields.Encode(), b) {
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
		if got := fields.Encode(); !bytes.Equal(got, b) {
			t.Fatalf("%x encodes to %x", b, got)
		}
		j, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		var back grpcmsg.Fields
		if err := json.Unmarshal(j, &back); err != nil {
			t.Fatalf("%s: %v", j, err)
		}
		if again, _ := json.Marshal(back); !bytes.Equal(j, again) {
			t.Fatalf("JSON %s read and written again is %s", j, again)
		}
	})
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x02ab\x01\x00\x00\x00\x01c"))
	f.Fuzz(func(t *testing.T, b []byte) {
		messages, err := grpcmsg.Split(b)
		joined := grpcmsg.Join(messages)
		if !bytes.HasPrefix(b, joined) || err == nil && len(joined) != len(b) {
			t.Fatalf("%x split and joined is %x (%v)", b, joined, err)
		}
	})
}

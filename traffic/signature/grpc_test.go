package signature_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/signature"
	"github.com/speedscale/speedscale/traffic/wire/body"
)

func stringField(b []byte, id protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, id, protowire.BytesType), s)
}

// quote is a message with a name, and a map with its entries in the given order.
func quote(name string, keys ...string) []byte {
	b := stringField(nil, 1, name)
	for _, k := range keys {
		entry := stringField(stringField(nil, 1, k), 2, "v-"+k)
		b = protowire.AppendBytes(protowire.AppendTag(b, 3, protowire.BytesType), entry)
	}
	return b
}

func grpcRequest(coding string, compressed bool, messages ...[]byte) *traffic.RRPair {
	var frames []byte
	for _, m := range messages {
		flag := byte(0)
		if compressed {
			flag = 1
		}
		frames = binary.BigEndian.AppendUint32(append(frames, flag), uint32(len(m)))
		frames = append(frames, m...)
	}
	p := request("POST", "rates:9000", "/rates.v1.Rates/Get", string(frames), "Content-Type", "application/grpc+proto", "grpc-encoding", coding)
	p.L7Protocol = traffic.GRPCProtocol
	return p
}

func TestGRPCRequestsGoByTheirFields(t *testing.T) {
	zipped, err := body.Encode("gzip", quote("eur", "a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	of := func(p *traffic.RRPair) signature.Signature { return signature.Of(p, signature.Options{}) }
	first := of(grpcRequest("identity", false, quote("eur", "a", "b")))
	for name, same := range map[string]*traffic.RRPair{
		"map in another order": grpcRequest("identity", false, quote("eur", "b", "a")),
		"compressed":           grpcRequest("gzip", true, zipped),
	} {
		if other := of(same); first.Hash() != other.Hash() {
			t.Errorf("%s: %v", name, signature.Diff(first, other))
		}
	}
	got := signature.Diff(first, of(grpcRequest("identity", false, quote("usd", "a", "b"))))
	want := []signature.Field{{Key: "grpc:request[0].fieldsMap.1.fields[0].asString", Want: `"eur"`, Got: `"usd"`}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	ignoring := signature.Options{IgnorePaths: []string{"fieldsMap.1."}}
	if signature.Of(grpcRequest("", false, quote("eur")), ignoring).Hash() != signature.Of(grpcRequest("", false, quote("usd")), ignoring).Hash() {
		t.Error("an ignored field counts")
	}
	if s := of(grpcRequest("", false, []byte("\xff\xff"))); len(s.Get(signature.KeyGRPC)) != 64 {
		t.Errorf("a body that is not protobuf is %q, want its hash", s.Get(signature.KeyGRPC))
	}
}

func TestContentCodingsAreUndone(t *testing.T) {
	for _, coding := range []string{"gzip", "br", "zstd", "deflate"} {
		coded, err := body.Encode(coding, []byte(`{"b":1,"a":2}`))
		if err != nil {
			t.Fatal(err)
		}
		plain := signature.Of(request("POST", "h", "/", `{"a":2,"b":1}`), signature.Options{})
		got := signature.Of(request("POST", "h", "/", string(coded), "Content-Encoding", coding), signature.Options{})
		if plain.Hash() != got.Hash() {
			t.Errorf("%s: %v", coding, signature.Diff(plain, got))
		}
	}
	broken := signature.Of(request("POST", "h", "/", "not gzip", "Content-Encoding", "gzip"), signature.Options{})
	if v := broken.Get(signature.KeyBody); len(v) != 64 || strings.Contains(string(v), "gzip") {
		t.Errorf("a body that cannot be decoded is %q, want the hash of its bytes", v)
	}
}

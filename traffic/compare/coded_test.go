package compare_test

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/wire/body"
)

func TestContentCodingsAreUndone(t *testing.T) {
	zipped, err := body.Encode("gzip", []byte(`{"n":1,"m":2}`))
	if err != nil {
		t.Fatal(err)
	}
	coded := response(200, string(zipped), "Content-Encoding", "gzip")
	c := compare.New(compare.Config{})
	if got := c.Compare(coded, response(200, `{"n":1,"m":2}`)); got != nil {
		t.Errorf("differences are %v", got)
	}
	if got, want := texts(c.Compare(coded, response(200, `{"n":1,"m":3}`))), []string{"http.res.body.m: recorded 2, observed 3"}; !slices.Equal(got, want) {
		t.Errorf("differences are %q, want %q", got, want)
	}
}

func TestGRPCIsComparedByField(t *testing.T) {
	rate := func(name string, n uint64) *traffic.RRPair {
		b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), name)
		b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), n)
		return response(200, "\x00\x00\x00\x00"+string(byte(len(b)))+string(b), "Content-Type", "application/grpc")
	}
	got := texts(compare.New(compare.Config{}).Compare(rate("eur", 7), rate("eur", 8)))
	want := []string{`http.res.body[0].fieldsMap.2.fields[0].asString: recorded "7", observed "8"`}
	if !slices.Equal(got, want) {
		t.Errorf("differences are %q, want %q", got, want)
	}
	ignoring := compare.New(compare.Config{IgnorePaths: []string{"$[*].fieldsMap.2"}})
	if got := ignoring.Compare(rate("eur", 7), rate("eur", 8)); got != nil {
		t.Errorf("an ignored field counts: %v", got)
	}
}

package annotation_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// FuzzParse: what Parse takes can be written down again and read back as the same,
// with the same hash.
func FuzzParse(f *testing.F) {
	for _, seed := range [][4]string{
		{"inject", "true", "proxy-type", "dual"},
		{"tls-out", "true", "tls-out-ca", "configmap/ca,secret/b/c"},
		{"ignore-src-ips", "10.0.0.1/8,*", "ignore-dst-hosts", "a.b,c"},
		{"memory-limit", "1e3Ki", "cpu-limit", "0.1"},
		{"extra-container-env-vars", "A=b\nC=$(A)", "tls-in-secret", "x"},
		{"proxy-type", "reverse", "proxy-host", "::1"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2 string) {
		s, err := annotation.Parse(map[string]string{annotation.Prefix + key1: value1, annotation.Prefix + key2: value2})
		if err != nil {
			return
		}
		written := s.Annotations()
		again, err := annotation.Parse(written)
		if err != nil {
			t.Fatalf("%q: %v", written, err)
		}
		if d := cmp.Diff(s, again, equal); d != "" {
			t.Errorf("%q: %s", written, d)
		}
		if s.Hash() != again.Hash() {
			t.Errorf("%q: hashes differ", written)
		}
	})
}

package annotation_test

import (
	"testing"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// Every annotation is documented, and what its documentation names as default it takes.
func TestReference(t *testing.T) {
	list := annotation.Reference()
	if len(list) < 30 {
		t.Fatalf("%d annotations", len(list))
	}
	for _, a := range list {
		if a.Text == "" || a.Values == "" {
			t.Errorf("%s is not documented: %+v", a.Key, a)
		}
		mode := annotation.ProxyType
		with := map[string]string{a.Key: a.Default}
		if len(a.Modes) > 0 && a.Key != mode {
			with[mode] = a.Modes[0]
		}
		if a.Default == "" {
			continue
		}
		if _, err := annotation.Parse(with); err != nil {
			t.Errorf("its default is refused: %v", err)
		}
	}
}

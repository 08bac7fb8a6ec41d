package stamp_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/stamp"
)

func sidecar(t *testing.T, pairs ...string) annotation.Sidecar {
	t.Helper()
	m := map[string]string{annotation.Inject: "true"}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	s, err := annotation.Parse(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStampCarriesTheSettings(t *testing.T) {
	want := sidecar(t, annotation.TLSOut, "true", annotation.IgnoreOutboundPorts, "5432,9092")
	got, err := stamp.Parse(stamp.Next("", "Deployment", "checkout", want))
	if err != nil {
		t.Fatal(err)
	}
	if got.Kind != "Deployment" || got.Name != "checkout" || got.Hash != want.Hash() || got.Count != 0 {
		t.Errorf("stamp is %+v", got)
	}
	read, err := annotation.Parse(got.Settings)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Annotations(), read.Annotations()); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestStampChangesWithSettingsAndWorkloadOnly(t *testing.T) {
	plain := sidecar(t)
	old := stamp.Next("", "Deployment", "checkout", plain)
	// One that an older version wrote in another form stays too.
	spaced := strings.Replace(old, `"count":0`, `"count": 3`, 1)
	for name, c := range map[string]struct {
		old, kind, name string
		settings        annotation.Sidecar
		same            bool
		count           int
	}{
		"same":                    {old, "Deployment", "checkout", plain, true, 0},
		"default spelled out":     {old, "Deployment", "checkout", sidecar(t, annotation.ProxyInPort, "4143"), true, 0},
		"written otherwise":       {spaced, "Deployment", "checkout", plain, true, 3},
		"other settings":          {spaced, "Deployment", "checkout", sidecar(t, annotation.TLSOut, "true"), false, 3},
		"copied to another name":  {old, "Deployment", "cart", plain, false, 0},
		"copied to another kind":  {old, "StatefulSet", "checkout", plain, false, 0},
		"not a stamp":             {"yes", "Deployment", "checkout", plain, false, 0},
		"a count that is not one": {strings.Replace(old, `"count":0`, `"count":-1`, 1), "Deployment", "checkout", plain, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			next := stamp.Next(c.old, c.kind, c.name, c.settings)
			if (next == c.old) != c.same {
				t.Errorf("from %s\n  to %s", c.old, next)
			}
			s, err := stamp.Parse(next)
			if err != nil || s.Count != c.count {
				t.Errorf("count %d (%v), want %d", s.Count, err, c.count)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"hash":"ab12","count":1,"kind":"Job","name":"load","settings":{"sidecar.speedscale.com/tls-out":"true"}}`)
	f.Add(`{}`)
	f.Add(`{} {}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := stamp.Parse(text)
		if err != nil {
			return
		}
		again, err := stamp.Parse(s.String())
		if err != nil {
			t.Fatalf("%s is not read back: %v", s, err)
		}
		if diff := cmp.Diff(s, again); diff != "" {
			t.Error(diff)
		}
	})
}

package stamp_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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

const replay = `{"id":"r1","name":"shop/pr-42","target":"0","kind":"Deployment","workload":"cart","responder":"responder:8080","mocks":[{"key":"cart:db.shop:5432"},{"key":"cart:[2001:db8::1]:443","alpn":"h2"}]}`

func TestReplayIsReadBack(t *testing.T) {
	r, err := stamp.ParseReplay(replay)
	if err != nil {
		t.Fatal(err)
	}
	if r.String() != replay {
		t.Errorf("%s became %s", replay, r)
	}
	for i, want := range []string{"db.shop 5432 true", "2001:db8::1 443 true"} {
		host, port, ok := stamp.Place(r.Mocks[i])
		if got := fmt.Sprint(host, " ", port, " ", ok); got != want {
			t.Errorf("mock %q is at %s, want %s", r.Mocks[i].Key, got, want)
		}
	}
}

// TestWrongReplays: a pod that took them over would be refused by the API server, or
// its sidecar would not start.
func TestWrongReplays(t *testing.T) {
	for want, change := range map[string][2]string{
		"looking for beginning": {replay, "x"},
		"something follows":     {`}]}`, `}]} {}`},
		"workload is empty":     {`"cart","responder`, `"","responder`},
		`id or target "a b"`:    {`"r1"`, `"a b"`},
		`id or target "-"`:      {`"target":"0"`, `"target":"-"`},
		"have no responder":     {`"responder":"responder:8080",`, ``},
		`responder "responder"`: {`responder:8080`, `responder`},
		`responder "x:0"`:       {`responder:8080`, `x:0`},
		`mock "cart:db"`:        {`cart:db.shop:5432`, `cart:db`},
		`mock "cart::80"`:       {`cart:db.shop:5432`, `cart::80`},
		`mock "cart:a:80,b"`:    {`cart:db.shop:5432`, `cart:a:80,b`},
		`mock "a=b:a:80"`:       {`cart:db.shop:5432`, `a=b:a:80`},
		`mock "c:$(X):80"`:      {`cart:db.shop:5432`, `c:$(X):80`},
		`alpn "h3"`:             {`"h2"`, `"h3"`},
	} {
		text := strings.Replace(replay, change[0], change[1], 1)
		if _, err := stamp.ParseReplay(text); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), annotation.Replay) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	long := strings.Replace(replay, "db.shop", strings.Repeat("a", 254), 1)
	if _, err := stamp.ParseReplay(long); err == nil {
		t.Error("a host of 254 bytes is taken")
	}
}

func FuzzParseReplay(f *testing.F) {
	f.Add(replay)
	f.Add(`{}`)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := stamp.ParseReplay(text)
		if err != nil {
			return
		}
		again, err := stamp.ParseReplay(r.String())
		if err != nil {
			t.Fatalf("%s is not read back: %v", r, err)
		}
		if diff := cmp.Diff(r, again, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRefusalIsReadBack(t *testing.T) {
	for _, want := range []stamp.Refusal{{Hash: "e3b0c44298", Reason: "exceeded quota (settings of it) "}, {}} {
		if got, err := stamp.ParseRefusal(want.String()); err != nil || got != want {
			t.Errorf("%q is read as %+v, %v", want, got, err)
		}
	}
	for _, text := range []string{"", "no reason", "reason (settings )x", " (settings "} {
		if got, err := stamp.ParseRefusal(text); err == nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}

func FuzzParseRefusal(f *testing.F) {
	f.Add("a (settings b)")
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := stamp.ParseRefusal(text); err == nil && r.String() != text {
			t.Errorf("%q became %q", text, r)
		}
	})
}

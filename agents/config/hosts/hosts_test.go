package hosts_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/config/hosts"
)

var search = []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local"}

func TestForms(t *testing.T) {
	want := []string{
		"db.shop", "db.shop.shop.svc.cluster.local", "db.shop.svc.cluster.local", "db.shop.cluster.local", "db", "db.shop.svc",
	}
	got := hosts.Forms("DB.shop.", search)
	for _, form := range want {
		if !slices.Contains(got, form) {
			t.Errorf("%q is not among %q", form, got)
		}
	}
	if got[0] != "db.shop" {
		t.Errorf("the first form is %q", got[0])
	}
	if got := hosts.Forms("db.shop.svc.cluster.local", search); slices.Contains(got, "db.shop.svc.cluster.local.cluster.local") || !slices.Contains(got, "db") {
		t.Errorf("forms of a whole name: %q", got)
	}
}

// A name that is mocked itself is not another one's form.
func TestMeant(t *testing.T) {
	of := hosts.Meant([]string{"db", "db.shop", "api.example"}, search)
	for form, want := range map[string]string{
		"db": "db", "db.shop": "db.shop", "db.shop.svc": "db", "api.example": "api.example", "api": "",
	} {
		if of[form] != want {
			t.Errorf("%q means %q, want %q", form, of[form], want)
		}
	}
}

// TestAddresses: each name has one of its own, within the range, whatever the order.
func TestAddresses(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, text := range []string{config.ReplayAddresses, config.ReplayLoopback, "127.0.0.0/24"} {
		prefix := netip.MustParsePrefix(text)
		var names []string
		for range 200 {
			names = append(names, fmt.Sprint("host", r.IntN(1000)))
		}
		got := hosts.Addresses(names, prefix)
		seen := map[netip.Addr]bool{}
		for name, addr := range got {
			if seen[addr] || !prefix.Contains(addr) || !slices.Contains(names, name) {
				t.Fatalf("%q has %s", name, addr)
			}
			seen[addr] = true
		}
		slices.Reverse(names)
		again := hosts.Addresses(names, prefix)
		for _, name := range names {
			if again[name] != got[name] || !got[name].IsValid() {
				t.Fatalf("%q has %s, and %s in another order", name, got[name], again[name])
			}
		}
	}
}

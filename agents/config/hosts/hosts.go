// Package hosts is how names of mocked hosts get addresses of their own, in a pod's
// DNS relay or its host aliases: which names mean which host, and what address it has.
package hosts

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
)

// Addresses gives each name an address of an IPv4 range: by the name alone, unless
// another one has that. Names are as Plain has them.
func Addresses(names []string, prefix netip.Prefix) map[string]netip.Addr {
	addrs, taken := make(map[string]netip.Addr), make(map[netip.Addr]bool)
	first := binary.BigEndian.Uint32(prefix.Masked().Addr().AsSlice())
	host := uint32(1)<<(32-prefix.Bits()) - 1
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		h := fnv.New32a()
		h.Write([]byte(name))
		for n := h.Sum32(); ; n++ {
			addr := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, first|n&host)))
			// The first is a network's name, and the last means everybody.
			if !taken[addr] && n&host != 0 && n&host != host {
				addrs[name], taken[addr] = addr, true
				break
			}
		}
	}
	return addrs
}

// Meant says for each form of the names (see Forms) which of them it means: a name
// itself comes before a form of another one.
func Meant(names, search []string) map[string]string {
	of := make(map[string]string)
	sorted := slices.Compact(slices.Sorted(slices.Values(names)))
	for _, name := range sorted {
		of[name] = name
	}
	for _, name := range sorted {
		for _, form := range Forms(name, search) {
			if _, taken := of[form]; !taken {
				of[form] = name
			}
		}
	}
	return of
}

// Forms returns the names that a resolver with the given search list (resolv.conf(5))
// may ask for when a client means the same host as by name, which is the first of them:
// in a pod, db, db.shop, db.shop.svc and db.shop.svc.cluster.local. They are in lower
// case, without a final dot.
func Forms(name string, search []string) []string {
	var forms []string
	for _, whole := range Wholes(name, search) {
		forms = append(forms, whole)
		for _, domain := range search {
			if short, ok := strings.CutSuffix(whole, "."+Plain(domain)); ok {
				forms = append(forms, short)
			}
		}
	}
	return unique(forms)
}

// Wholes are what a name may be as a whole: one that ends in a search domain is itself
// that, any other also relative to each of them.
func Wholes(name string, search []string) []string {
	name = Plain(name)
	found := []string{name}
	for _, domain := range search {
		if strings.HasSuffix(name, "."+Plain(domain)) {
			return found[:1]
		}
		found = append(found, name+"."+Plain(domain))
	}
	return unique(found)
}

// Plain is a name in lower case, without a final dot.
func Plain(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// unique leaves out what was there before.
func unique(names []string) (found []string) {
	for _, name := range names {
		if !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	return found
}

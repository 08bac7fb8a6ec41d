package dnsrelay

import (
	"slices"
	"strings"
)

// Forms returns the names that a resolver with the given search list (resolv.conf(5))
// may ask for when a client means the same host as by name, which is the first of them:
// in a pod, db, db.shop, db.shop.svc and db.shop.svc.cluster.local. They are in lower
// case, without a final dot.
func Forms(name string, search []string) []string {
	var forms []string
	for _, whole := range wholes(name, search) {
		forms = append(forms, whole)
		for _, domain := range search {
			if short, ok := strings.CutSuffix(whole, "."+plain(domain)); ok {
				forms = append(forms, short)
			}
		}
	}
	return unique(forms)
}

// wholes are what a name may be as a whole: one that ends in a search domain is itself
// that, any other also relative to each of them.
func wholes(name string, search []string) []string {
	name = plain(name)
	found := []string{name}
	for _, domain := range search {
		if strings.HasSuffix(name, "."+plain(domain)) {
			return found[:1]
		}
		found = append(found, name+"."+plain(domain))
	}
	return unique(found)
}

// plain is a name in lower case, without a final dot.
func plain(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// unique leaves out what was there before.
func unique(names []string) (found []string) {
	for _, name := range names {
		if !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	return found
}

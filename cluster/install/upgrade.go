package install

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/helm"
)

// ErrNotInstalled says that there is nothing to upgrade.
var ErrNotInstalled = errors.New("it is not installed")

// Upgrade brings what is installed to the charts of this version. It keeps the values
// that were given before; those of the options come on top. Keys stay. It waits until all
// is ready. With values that are wrong (*ValuesError) nothing is changed.
func Upgrade(ctx context.Context, c kubernetes.Interface, h Releases, o Options) error {
	version, err := supported(c.Discovery())
	if err != nil {
		return err
	}
	o.AppURL = "" // whether there is a cloud in the cluster says the cluster
	parts, err := o.parts()
	if err != nil {
		return err
	}
	releases, err := merged(h, parts)
	if err != nil {
		return err
	}
	if _, err := template(ctx, releases, version); err != nil {
		return err
	}
	if err := given(ctx, c, releases); err != nil {
		return err
	}
	o.tags(releases)
	for _, r := range releases {
		o.say("upgrading " + r.Name + " in namespace " + r.Namespace)
		if _, err := h.Apply(ctx, r, o.Timeout); err != nil {
			return err
		}
	}
	return o.ready(ctx, c)
}

// merged are the releases that are there, with the values that they have, but where
// others were given now.
func merged(h Releases, parts []part) (there []helm.Release, err error) {
	for _, p := range parts {
		old, found, err := h.Values(p.Name, p.Namespace)
		if err != nil {
			return nil, err
		}
		if !found && p.Name == Cloud {
			continue // it is elsewhere
		}
		if !found {
			return nil, fmt.Errorf("release %q in namespace %q: %w", p.Name, p.Namespace, ErrNotInstalled)
		}
		there = append(there, p.over(old))
	}
	return there, nil
}

// merge returns the values of both; those of over win, key by key.
func merge(under, over map[string]any) map[string]any {
	all := maps.Clone(under)
	if all == nil {
		all = map[string]any{}
	}
	for key, value := range over {
		below, ok := all[key].(map[string]any)
		above, ok2 := value.(map[string]any)
		if ok && ok2 {
			value = merge(below, above)
		}
		all[key] = value
	}
	return all
}

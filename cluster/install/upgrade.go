package install

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/helm"
)

// ErrNotInstalled says that there is nothing to upgrade.
var ErrNotInstalled = errors.New("it is not installed")

// Upgrade brings what is installed to the charts of this version. It keeps the values
// that were given before; those of the options come on top. Keys stay. It waits until all
// is ready, and returns the options with what they left open. With values that are wrong
// (*ValuesError), or in the place of something else (*RefusedError), nothing is changed.
func Upgrade(ctx context.Context, c kubernetes.Interface, h Releases, o Options) (Options, error) {
	version, err := supported(c.Discovery())
	if err != nil {
		return o, err
	}
	if err := Unclaimed(ctx, c, o); err != nil {
		return o, err
	}
	if o, err = FindCloud(ctx, c, h, o); err != nil {
		return o, err
	}
	o.AppURL = "" // whether there is a cloud in the cluster says the cluster
	parts, err := o.parts()
	if err != nil {
		return o, err
	}
	releases, err := o.there(ctx, c, h, parts)
	if err != nil {
		return o, err
	}
	manifests, err := template(ctx, releases, version)
	if err != nil {
		return o, err
	}
	if err := given(ctx, c, releases); err != nil {
		return o, err
	}
	g, err := volume(ctx, c, manifests)
	if err != nil {
		return o, err
	}
	return o, o.apply(ctx, c, h, "upgrading", releases, g)
}

// there are the releases that are there, with the values that they have, but where others
// were given now.
func (o *Options) there(ctx context.Context, c kubernetes.Interface, h Releases, parts []part) (there []helm.Release, err error) {
	for _, p := range parts {
		r, found, err := o.release(ctx, c, h, p)
		if err != nil {
			return nil, err
		}
		if !found && p.Name == Cloud {
			continue // it is elsewhere
		}
		if !found {
			return nil, fmt.Errorf("release %q in namespace %q: %w", p.Name, p.Namespace, ErrNotInstalled)
		}
		there = append(there, r)
	}
	return there, nil
}

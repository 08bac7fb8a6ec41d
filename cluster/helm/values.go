package helm

import (
	"errors"
	"maps"

	"helm.sh/helm/v3/pkg/storage/driver"
)

// Values returns what a release was given beside its chart's own values, and whether
// there is one. Those of a revision that failed or was interrupted are not kept, unless there
// is no other: what was wrong with them would be wrong again.
func (c *Client) Values(name, namespace string) (values map[string]any, found bool, err error) {
	cfg, err := c.configuration(namespace)
	if err != nil {
		return nil, false, err
	}
	r, err := cfg.Releases.Deployed(name)
	if errors.Is(err, driver.ErrNoDeployedReleases) {
		r, err = cfg.Releases.Last(name)
	}
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, explain(Release{Name: name, Namespace: namespace}, err)
	}
	return r.Config, true, nil
}

// Merge returns the values of both, as Helm does with several files: maps are merged, and of
// anything else, lists too, that of over is taken.
func Merge(under, over map[string]any) map[string]any {
	all := maps.Clone(under)
	if all == nil {
		all = map[string]any{}
	}
	for key, value := range over {
		below, ok := all[key].(map[string]any)
		above, ok2 := value.(map[string]any)
		if ok && ok2 {
			value = Merge(below, above)
		}
		all[key] = value
	}
	return all
}

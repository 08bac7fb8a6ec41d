package helm

import (
	"errors"

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

// Merge puts more values on top of others, as Helm does with several files: maps are
// merged, and anything else is replaced, lists too.
func Merge(values, more map[string]any) {
	for key, value := range more {
		below, isMap := values[key].(map[string]any)
		if above, ok := value.(map[string]any); ok && isMap {
			Merge(below, above)
			continue
		}
		values[key] = value
	}
}

package helm

import (
	"errors"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/storage/driver"
)

// Values returns what a release was given beside its chart's own values, and whether
// there is one.
func (c *Client) Values(name, namespace string) (values map[string]any, found bool, err error) {
	cfg, err := c.configuration(namespace)
	if err != nil {
		return nil, false, err
	}
	values, err = action.NewGetValues(cfg).Run(name)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, explain(Release{Name: name, Namespace: namespace}, err)
	}
	return values, true, nil
}

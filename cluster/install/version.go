package install

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/version"
	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"

	"github.com/speedscale/speedscale/cluster/helm"
)

// Oldest is the oldest version of Kubernetes that everything works with.
const Oldest = "1.30"

// supported returns a cluster's version, or why nothing can be installed into it.
func supported(d discovery.ServerVersionInterface) (string, error) {
	v, err := d.ServerVersion()
	if err != nil {
		return "", fmt.Errorf("the API server's version: %w", err)
	}
	return v.GitVersion, Supported(v)
}

// Supported says what is wrong with a cluster's version.
func Supported(v *apiversion.Info) error {
	is, err := version.ParseGeneric(v.GitVersion)
	if err != nil {
		return fmt.Errorf("the API server's version: %w", err)
	}
	if is.LessThan(version.MustParseGeneric(Oldest)) {
		return fmt.Errorf("the cluster has Kubernetes %s: want %s or newer", v.GitVersion, Oldest)
	}
	return nil
}

// tags warns of images that a value from before keeps at another version.
func (o *Options) tags(releases []helm.Release) {
	if o.Warn == nil || o.Version == "" {
		return
	}
	for _, r := range releases {
		flag, now := "--set", o.OperatorValues
		if r.Name == Cloud {
			flag, now = "--cloud-set", o.CloudValues
		}
		tag, _, _ := unstructured.NestedString(r.Values, "image", "tag")
		if _, given, _ := unstructured.NestedString(now, "image", "tag"); given || tag == "" || tag == o.Version {
			continue
		}
		o.Warn(fmt.Sprintf("%s has the images %s, by its value image.tag, and not %s: %s image.tag= takes these", r.Name, tag, o.Version, flag))
	}
}

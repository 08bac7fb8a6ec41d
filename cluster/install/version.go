package install

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/version"
	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
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

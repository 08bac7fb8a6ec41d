package check

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/charts"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/install"
)

func apiReachable(f *Facts) Result {
	if f.VersionError != nil {
		return fail("--kubeconfig, KUBECONFIG and --kube-context say which cluster is meant", "%v", f.VersionError)
	}
	return ok("it is asked by your kubeconfig")
}

func apiVersion(f *Facts) Result {
	if err := install.Supported(f.Version); err != nil {
		return fail("upgrade the cluster", "%v", err)
	}
	return ok("Kubernetes %s", f.Version.GitVersion)
}

func metricsAPI(f *Facts) Result {
	switch {
	case apierrors.IsNotFound(f.MetricsError):
		return warn("install metrics-server: reports of replays then have the CPU and memory of pods", "there is none (metrics.k8s.io)")
	case f.MetricsError != nil:
		return warn("kubectl get apiservice v1beta1.metrics.k8s.io says why; until then replays measure no CPU and memory", "metrics.k8s.io does not answer: %v", f.MetricsError)
	}
	return ok("replays can measure CPU and memory")
}

func rights(f *Facts) Result {
	if f.RightsError != nil {
		return skip("%v", f.RightsError)
	}
	if len(f.Missing) > 0 {
		return fail("ask an administrator of the cluster for them, or to install", "%v", &install.DeniedError{Missing: f.Missing})
	}
	return ok("as far as the API server tells")
}

// leftovers are webhooks whose operator is gone: they do no harm, and would be taken over. An
// operator elsewhere, or of something else, is not.
func leftovers(f *Facts) Result {
	if refused, is := errors.AsType[*install.RefusedError](f.UnclaimedError); is {
		return fail(refused.Hint, "%v", refused)
	}
	switch {
	case f.WebhooksError != nil:
		return skip("%v", f.WebhooksError)
	case len(f.Webhooks) > 0 && f.Webhooks[0].Namespace != f.Namespace:
		return warn("speedctl uninstall removes what is left of an installation", "there are webhooks of an operator in namespace %q", f.Webhooks[0].Namespace)
	case len(f.Webhooks) > 0 && f.Operator.Object == nil:
		return warn("speedctl uninstall removes what is left of an installation", "webhooks of an operator that is gone are there")
	case f.Operator.Object != nil:
		return ok("speedscale is installed already, and would be upgraded")
	}
	return ok("there is none")
}

// storage is what the charts' own values ask for; an installation that is there has its volume.
func storage(f *Facts) Result {
	refused, is := errors.AsType[*install.RefusedError](f.StorageError)
	switch {
	case f.Operator.Object != nil:
		return ok("speedscale is installed already")
	case is:
		return fail(refused.Hint, "%v", refused)
	case f.StorageError != nil:
		return skip("%v", f.StorageError)
	}
	return ok("for its volume")
}

func definition(f *Facts) Result {
	if f.DefinitionError != nil {
		return fail("speedctl install brings it", "%v", f.DefinitionError)
	}
	return ok("%s/%s", v1.Group, v1.Version)
}

// definitionVersion compares the definition in the cluster with the one of this program's
// chart. One that has more is newer, which does no harm.
func definitionVersion(f *Facts) Result {
	switch {
	case f.DefinitionError != nil:
		return skip("the API server does not know it")
	case f.Definition.Err != nil:
		return skip("%v", f.Definition.Err)
	case f.Definition.Object == nil:
		return skip("it is not a custom resource definition")
	}
	wanted, err := chartDefinition()
	if err != nil {
		return fail("this speedctl is broken", "the definition of its chart: %v", err)
	}
	missing := lacking(fields(wanted), fields(f.Definition.Object.Object))
	if len(missing) > 0 {
		named := missing[:min(len(missing), 3)]
		return fail("speedctl upgrade renews it", "it is older than this speedctl, and drops %d fields of a replay, such as %s", len(missing), strings.Join(named, ", "))
	}
	return ok("all %d fields", len(fields(wanted)))
}

// chartDefinition is the CustomResourceDefinition of the chart.
func chartDefinition() (map[string]any, error) {
	const name = "speedscale-operator/templates/crds/speedscale.com_trafficreplays.yaml"
	text, err := fs.ReadFile(charts.Files(), name)
	if err != nil {
		return nil, err
	}
	var crd map[string]any
	if err := yaml.Unmarshal(text, &crd); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return crd, nil
}

// fields are the paths of all properties in the schema of our version.
func fields(crd map[string]any) map[string]bool {
	found := map[string]bool{}
	versions, _, _ := unstructured.NestedSlice(crd, "spec", "versions") // none has no fields
	for _, entry := range versions {
		if version, isMap := entry.(map[string]any); isMap && version["name"] == v1.Version {
			schema, _, _ := unstructured.NestedMap(version, "schema", "openAPIV3Schema")
			properties(schema, "", found)
		}
	}
	return found
}

func properties(schema map[string]any, path string, found map[string]bool) {
	inner, _ := schema["properties"].(map[string]any)
	for name, below := range inner {
		at := strings.TrimPrefix(path+"."+name, ".")
		found[at] = true
		if below, isMap := below.(map[string]any); isMap {
			properties(below, at, found)
		}
	}
	for _, nested := range []string{"items", "additionalProperties"} {
		if below, isMap := schema[nested].(map[string]any); isMap {
			properties(below, path+"[]", found)
		}
	}
}

// lacking are the wanted paths that are not there, without what is below one of them.
func lacking(wanted, there map[string]bool) (missing []string) {
	for _, path := range slices.Sorted(maps.Keys(wanted)) {
		above := func(m string) bool { return strings.HasPrefix(path, m+".") || strings.HasPrefix(path, m+"[") }
		if !there[path] && !slices.ContainsFunc(missing, above) {
			missing = append(missing, path)
		}
	}
	return missing
}

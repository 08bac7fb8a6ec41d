// Package check says what is wrong with an installation, or in the way of one, and
// why a pod is captured or not. What it says is made from fetched objects by pure
// functions.
package check

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/speedscale/speedscale/cluster/install"
)

// Status is the outcome of a check.
type Status string

// The outcomes.
const (
	OK      Status = "ok"
	Warning Status = "warning" // something may not be what its owner wants
	Failed  Status = "failed"
	Skipped Status = "skipped" // it could not be looked at, or an earlier failure is why
)

// Result is what one check found.
type Result struct {
	// Category groups checks: cluster, rights, operator, cloud, telemetry, workloads.
	Category string `json:"category"`
	Name     string `json:"name"`
	Status   Status `json:"status"`
	// Text says what was found, and Hint what can be done.
	Text string `json:"text,omitempty"`
	Hint string `json:"hint,omitempty"`
}

// Failures counts the results that are failures.
func Failures(results []Result) (n int) {
	for _, r := range results {
		if r.Status == Failed {
			n++
		}
	}
	return n
}

func (r Result) ok(format string, args ...any) Result {
	r.Status, r.Text = OK, fmt.Sprintf(format, args...)
	return r
}

func (r Result) fail(hint, format string, args ...any) Result {
	r.Status, r.Text, r.Hint = Failed, fmt.Sprintf(format, args...), hint
	return r
}

func (r Result) warn(hint, format string, args ...any) Result {
	r.Status, r.Text, r.Hint = Warning, fmt.Sprintf(format, args...), hint
	return r
}

func (r Result) skip(format string, args ...any) Result {
	r.Status, r.Text = Skipped, fmt.Sprintf(format, args...)
	return r
}

// Before says whether speedscale can be installed.
func Before(f *Facts) []Result {
	results := []Result{reachable(f)}
	if results[0].Status == Failed {
		return results
	}
	return append(results, supported(f), rights(f), leftovers(f))
}

// After says whether an installation works, and what of it does not.
func After(f *Facts) []Result {
	results := []Result{reachable(f)}
	if results[0].Status == Failed {
		return results
	}
	results = append(results, supported(f), definition(f))
	results = append(results, f.component("operator", install.Operator, f.Operator, true))
	results = append(results, webhooks(f)...)
	results = append(results,
		f.component("operator", "speedscale-forwarder", f.Forwarder, true),
		f.component("operator", "speedscale-inspector", f.Inspector, false),
		cloud(f))
	results = append(results, telemetry(f)...)
	return append(results, workloads(f)...)
}

func reachable(f *Facts) Result {
	r := Result{Category: "cluster", Name: "reachable"}
	if f.VersionError != nil {
		return r.fail("--kubeconfig, KUBECONFIG and --kube-context say which cluster is meant", "%v", f.VersionError)
	}
	return r.ok("the API server answers")
}

func supported(f *Facts) Result {
	r := Result{Category: "cluster", Name: "version"}
	if err := install.Supported(f.Version); err != nil {
		return r.fail("upgrade the cluster", "%v", err)
	}
	return r.ok("Kubernetes %s", f.Version.GitVersion)
}

func rights(f *Facts) Result {
	r := Result{Category: "rights", Name: "install"}
	if f.RightsError != nil {
		return r.skip("%v", f.RightsError)
	}
	if len(f.Missing) > 0 {
		return r.fail("ask an administrator of the cluster for them, or to install", "%v", &install.DeniedError{Missing: f.Missing})
	}
	return r.ok("you may make all that is installed")
}

// leftovers are webhooks whose operator is gone: they do no harm, and would be taken over.
func leftovers(f *Facts) Result {
	r := Result{Category: "cluster", Name: "leftovers"}
	switch {
	case f.WebhooksError != nil:
		return r.skip("%v", f.WebhooksError)
	case len(f.Webhooks) > 0 && f.Operator.Object == nil:
		return r.warn("speedctl uninstall removes what is left of an installation", "webhooks of an operator that is gone are there")
	case f.Operator.Object != nil:
		return r.ok("speedscale is installed already, and would be upgraded")
	}
	return r.ok("nothing of an earlier installation is there")
}

func definition(f *Facts) Result {
	r := Result{Category: "operator", Name: "TrafficReplay"}
	if f.DefinitionError != nil {
		return r.fail("speedctl install brings it", "the API server does not know TrafficReplays: %v", f.DefinitionError)
	}
	return r.ok("the API server knows it")
}

// component judges a Deployment of the control plane.
func (f *Facts) component(category, name string, d Fetched[appsv1.Deployment], needed bool) Result {
	r := Result{Category: category, Name: name}
	switch {
	case d.Err != nil:
		return r.skip("%v", d.Err)
	case d.Object == nil && !needed:
		return r.ok("it is left out")
	case d.Object == nil:
		return r.fail("speedctl install puts it there", "there is no deployment %q in namespace %q", name, f.Namespace)
	case d.Object.Status.ReadyReplicas > 0:
		return r.ok("%d of %d pods are ready", d.Object.Status.ReadyReplicas, replicas(d.Object))
	}
	hint := fmt.Sprintf("kubectl -n %s describe pods -l app=%s says more", f.Namespace, name)
	for _, why := range f.Unready[name] {
		return r.fail(hint, "no pod is ready: %s", why)
	}
	return r.fail(hint, "no pod is ready")
}

func replicas(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

func cloud(f *Facts) Result {
	r := Result{Category: "cloud", Name: "reachable"}
	switch {
	case f.Cloud == nil:
		return r.skip("it was not asked")
	case f.Cloud.Err != nil:
		return r.fail("-c names the context of the cloud that the operator sends to", "%v", f.Cloud.Err)
	case f.Cloud.Refused != "":
		return r.fail("give its volume more room, or keep less: --cloud-set persistence.size=… or retention.age=…", "it takes nothing in: %s", f.Cloud.Refused)
	}
	return r.ok("it answers, and holds %d pairs", f.Cloud.Pairs)
}

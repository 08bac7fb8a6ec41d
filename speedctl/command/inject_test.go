package command_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What an API server has of an operator that is not ready, and that is called for the
// namespace default only.
const (
	webhookPath  = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/speedscale-operator"
	operatorPath = "/apis/apps/v1/namespaces/tools/deployments/speedscale-operator"
	webhook      = `{"kind": "MutatingWebhookConfiguration", "apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": "speedscale-operator"},
		"webhooks": [{"name": "sidecar.speedscale.com", "clientConfig": {"caBundle": "eA==", "service": {"namespace": "tools", "name": "speedscale-operator"}},
		"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}]}`
)

// newWorkloads has workloads in some namespaces, and that operator.
func newWorkloads(t *testing.T) *apiServer {
	a := newAPIServer(t)
	a.objects = map[string]string{webhookPath: webhook, operatorPath: `{"kind": "Deployment", "apiVersion": "apps/v1"}`}
	for _, namespace := range []string{"default", "shop", "kube-system"} {
		in := "/apis/apps/v1/namespaces/" + namespace + "/deployments/"
		meta := fmt.Sprintf(`"namespace": %q`, namespace)
		a.objects[in+"web"] = `{"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web", ` + meta + `}}`
		a.objects[in+"ignored"] = `{"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "ignored", ` + meta + `, "annotations": {"operator.speedscale.com/ignore": "true"}}}`
		a.objects[in+"foreign"] = `{"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "foreign", ` + meta + `, "annotations": {"operator.speedscale.com/managed-by": "blue"}}}`
		a.objects["/api/v1/namespaces/"+namespace] = fmt.Sprintf(`{"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": %[1]q, "labels": {"kubernetes.io/metadata.name": %[1]q}}}`, namespace)
		a.objects["/api/v1/namespaces/"+namespace+"/services"] = `{"kind": "ServiceList", "apiVersion": "v1", "items": []}`
		a.objects["/api/v1/namespaces/"+namespace+"/pods"] = `{"kind": "PodList", "apiVersion": "v1", "items": []}`
	}
	a.objects["/api/v1/configmaps"] = `{"kind": "ConfigMapList", "apiVersion": "v1", "items": []}`
	return a
}

// TestInjectChangesWhatNoOperatorTakesUp: nothing is annotated that would be taken up some day
// by surprise, and the reason is that of speedctl why.
func TestInjectChangesWhatNoOperatorTakesUp(t *testing.T) {
	r := startRemote(t)
	for args, c := range map[string]struct {
		change func(*apiServer)
		want   []string
	}{
		"deployment/web":                {func(a *apiServer) { delete(a.objects, webhookPath) }, []string{"deployment default/web cannot have a sidecar: no operator is installed", "hint: speedctl install"}},
		"deployment/web --dry-run":      {func(a *apiServer) { delete(a.objects, webhookPath) }, []string{"no operator is installed"}},
		"deployment/web -n shop":        {nil, []string{`deployment shop/web cannot have a sidecar: namespace "shop" is left out of the webhook "sidecar.speedscale.com"`, "namespaceSelector"}},
		"deployment/web -n kube-system": {nil, []string{`in namespace "kube-system", which the cluster needs to run, nothing is ever captured`}},
		"deployment/ignored":            {nil, []string{"operator.speedscale.com/ignore", "take it away first"}},
		"deployment/foreign":            {nil, []string{`"blue"`, "here is none"}},
		"job/once":                      {nil, []string{"the pods of a Job are not replaced"}},
	} {
		a := newWorkloads(t)
		if c.change != nil {
			c.change(a)
		}
		code, out, said := r.speedctl(t, slices.Concat([]string{"inject", "--kubeconfig", a.kubeconfig(t), "--timeout", "1s"}, strings.Fields(args))...)
		if code != 2 || len(a.changes) > 0 || out != "" {
			t.Errorf("%s: exit code %d, it did %v, and printed %s", args, code, a.changes, out)
		}
		for _, want := range c.want {
			if !strings.Contains(said, want) {
				t.Errorf("%s: %q is missing in %s", args, want, said)
			}
		}
	}
}

// TestInjectNamesWhyItIsNotTakenUp, as speedctl why does, and what becomes of the annotations. Who may
// not look at the operator can inject all the same. The client's own limit of rate, which is met at
// the end of the wait, does not hide the reason.
func TestInjectNamesWhyItIsNotTakenUp(t *testing.T) {
	r := startRemote(t)
	for want, change := range map[string]func(*apiServer){
		"has not taken its annotations up; the operator is not ready: pods that start now get no sidecar": func(*apiServer) {},
		"has not taken its annotations up; whether the operator is called for the workload could not be looked at": func(a *apiServer) {
			a.objects[webhookPath], a.objects["/apis/apps/v1/namespaces/speedscale/deployments/speedscale-operator"] = "", ""
		},
	} {
		a := newWorkloads(t)
		change(a)
		code, _, said := r.speedctl(t, "inject", "deployment/web", "--kubeconfig", a.kubeconfig(t), "--timeout", "1s")
		if code != 1 || !strings.Contains(said, want) || !strings.Contains(said, "speedctl uninject takes them away") {
			t.Errorf("exit code %d: %s, want %s", code, said, want)
		}
		if len(a.changes) != 2 { // of which one is a dry run
			t.Errorf("it did %v", a.changes)
		}
	}
}

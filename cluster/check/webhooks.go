package check

import (
	"context"
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/install"
)

// replayHooks is the name of the webhook configurations that are about replays.
const replayHooks = install.Operator + "-replay"

// Webhook is a webhook of the operator.
type Webhook struct {
	// Configuration is the object that it is in, and Kind that object's.
	Kind, Configuration, Name string
	// CABundle verifies the operator.
	CABundle []byte
	// Namespace and Service are what the API server calls.
	Namespace, Service string
	// Policy is what becomes of a request when the operator does not answer, Ignore or Fail.
	Policy string
	// Selector says which namespaces it is asked about; nil is all.
	Selector *metav1.LabelSelector
}

func (w Webhook) String() string {
	return fmt.Sprintf("webhook %q of %s %q", w.Name, w.Kind, w.Configuration)
}

// registered returns the webhooks of the operator.
func registered(ctx context.Context, c kubernetes.Interface) (found []Webhook, err error) {
	api := c.AdmissionregistrationV1()
	add := func(w Webhook, client admissionregistrationv1.WebhookClientConfig, policy *admissionregistrationv1.FailurePolicyType) {
		if client.Service == nil {
			return
		}
		w.CABundle, w.Namespace, w.Service = client.CABundle, client.Service.Namespace, client.Service.Name
		w.Policy = string(admissionregistrationv1.Fail) // the default of the API
		if policy != nil {
			w.Policy = string(*policy)
		}
		found = append(found, w)
	}
	for _, name := range []string{install.Operator, replayHooks} {
		mutating := fetched(api.MutatingWebhookConfigurations().Get(ctx, name, metav1.GetOptions{}))
		if mutating.Err != nil {
			return nil, mutating.Err
		}
		if mutating.Object != nil {
			for _, w := range mutating.Object.Webhooks {
				add(Webhook{Kind: "mutatingwebhookconfiguration", Configuration: name, Name: w.Name, Selector: w.NamespaceSelector}, w.ClientConfig, w.FailurePolicy)
			}
		}
		validating := fetched(api.ValidatingWebhookConfigurations().Get(ctx, name, metav1.GetOptions{}))
		if validating.Err != nil {
			return nil, validating.Err
		}
		if validating.Object != nil {
			for _, w := range validating.Object.Webhooks {
				add(Webhook{Kind: "validatingwebhookconfiguration", Configuration: name, Name: w.Name, Selector: w.NamespaceSelector}, w.ClientConfig, w.FailurePolicy)
			}
		}
	}
	return found, nil
}

// has says that a configuration with a webhook is there.
func (f *Facts) has(kind, configuration string) bool {
	for _, w := range f.Webhooks {
		if w.Kind == kind && w.Configuration == configuration {
			return true
		}
	}
	return false
}

func webhookRegistered(f *Facts) Result {
	switch {
	case f.WebhooksError != nil:
		return skip("%v", f.WebhooksError)
	case !f.has("mutatingwebhookconfiguration", install.Operator):
		return fail("speedctl install puts it there; until then pods start without a sidecar", "there is no mutatingwebhookconfiguration %q", install.Operator)
	}
	return ok("in mutatingwebhookconfiguration %q", install.Operator)
}

func webhookReplayRegistered(f *Facts) Result {
	if f.WebhooksError != nil {
		return skip("%v", f.WebhooksError)
	}
	for _, kind := range []string{"mutatingwebhookconfiguration", "validatingwebhookconfiguration"} {
		if !f.has(kind, replayHooks) {
			return fail("speedctl install puts it there; until then replays are not completed or not checked when they are made", "there is no %s %q", kind, replayHooks)
		}
	}
	return ok("in two configurations %q", replayHooks)
}

// eachWebhook judges those that are there; nil is well.
func (f *Facts) eachWebhook(judge func(Webhook) *Result) []Result {
	switch {
	case f.WebhooksError != nil:
		return []Result{skip("%v", f.WebhooksError)}
	case len(f.Webhooks) == 0:
		return []Result{skip("there are no webhooks")}
	}
	var bad []Result
	for _, w := range f.Webhooks {
		if r := judge(w); r != nil {
			bad = append(bad, r.of(w.String()))
		}
	}
	return each(bad, ok("%d webhooks", len(f.Webhooks)))
}

// webhookPolicy: no app waits for the operator, and no pod of a replay starts without it.
func webhookPolicy(f *Facts) []Result {
	return f.eachWebhook(func(w Webhook) *Result {
		want, why := "Ignore", "apps could not start while the operator is away"
		if w.Configuration == replayHooks || strings.HasPrefix(w.Name, "replayed.") {
			want, why = "Fail", "a replay could reach real dependencies while the operator is away"
		}
		if w.Policy == want {
			return nil
		}
		return new(fail("speedctl upgrade sets it back", "its failurePolicy is %s, and not %s: %s", w.Policy, want, why))
	})
}

func webhookEndpoints(f *Facts) []Result {
	told := map[string]bool{}
	return f.eachWebhook(func(w Webhook) *Result {
		service := w.Namespace + "/" + w.Service
		if f.Endpoints[service] > 0 || told[service] {
			return nil
		}
		told[service] = true
		return new(fail(fmt.Sprintf("the operator has to be ready, and selected by it: kubectl -n %s describe service %s; until then pods start without a sidecar", w.Namespace, w.Service),
			"it leads to service %q, which has no ready pod", service))
	})
}

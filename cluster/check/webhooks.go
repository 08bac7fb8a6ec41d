package check

import (
	"fmt"

	"github.com/speedscale/speedscale/cluster/install"
)

// Webhook is a webhook of the operator.
type Webhook struct {
	// Configuration is the object that it is in, and Kind that object's.
	Kind, Configuration, Name string
	// CABundle verifies the operator.
	CABundle []byte
	// Namespace and Service are what the API server calls.
	Namespace, Service string
}

func webhooks(f *Facts) []Result {
	r := Result{Category: "operator", Name: "webhooks"}
	if f.WebhooksError != nil {
		return []Result{r.skip("%v", f.WebhooksError)}
	}
	stamps := false
	for _, w := range f.Webhooks {
		stamps = stamps || w.Configuration == install.Operator
	}
	if !stamps {
		return []Result{r.fail("speedctl install puts it there; until then pods start without a sidecar", "there is no mutating webhook configuration %q", install.Operator)}
	}
	for _, w := range f.Webhooks {
		where := fmt.Sprintf("webhook %q of %s %q", w.Name, w.Kind, w.Configuration)
		if len(w.CABundle) == 0 {
			return []Result{r.fail("the operator fills it in: its log says why it did not", "%s has no caBundle, so the API server cannot call it", where)}
		}
		if service := w.Namespace + "/" + w.Service; f.Endpoints[service] == 0 {
			return []Result{r.fail("the operator has to be ready; until then pods start without a sidecar", "%s leads to service %q, which has no ready pod", where, service)}
		}
	}
	return []Result{r.ok("%d, each with a caBundle and a ready pod behind it", len(f.Webhooks))}
}

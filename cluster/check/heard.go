package check

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/inject"
)

// pinned reads the forwarder's certificate from its Secret.
func pinned(ctx context.Context, c kubernetes.Interface, namespace string) Fetched[x509.Certificate] {
	secret := fetched(c.CoreV1().Secrets(namespace).Get(ctx, forwarderCerts, metav1.GetOptions{}))
	if secret.Object == nil {
		return Fetched[x509.Certificate]{Err: secret.Err}
	}
	all, err := bundle(secret.Object.Data[corev1.TLSCertKey])
	if err != nil {
		return Fetched[x509.Certificate]{Err: fmt.Errorf("secret %q: %w", forwarderCerts, err)}
	}
	return Fetched[x509.Certificate]{Object: all[0]}
}

// sidecarsTrust compares the copies of the forwarder's certificate that pods have with it.
func sidecarsTrust(f *Facts) []Result {
	switch {
	case f.InjectedError != nil:
		return []Result{skip("%v", f.InjectedError)}
	case f.Certificate.Err != nil:
		return []Result{skip("%v", f.Certificate.Err)}
	case f.Certificate.Object == nil:
		return []Result{skip("there is no secret %q in namespace %q", forwarderCerts, f.Namespace)}
	}
	return f.silent("trust a certificate that the forwarder does not have any more, and send it nothing",
		"kubectl -n %s rollout restart makes the pods of a workload anew, with the present one; speedctl upgrade --roll does it for all",
		func(p *corev1.Pod) bool {
			all, err := bundle([]byte(p.Annotations[annotation.ForwarderCA]))
			return err == nil && !slices.ContainsFunc(all, f.Certificate.Object.Equal)
		}, ok("all %d", len(f.Injected)))
}

// sidecarsHeard looks for sidecars that have run for a while, and that the forwarder does
// not hear of: what they capture does not reach it either.
func sidecarsHeard(f *Facts) []Result {
	if f.InjectedError != nil {
		return []Result{skip("%v", f.InjectedError)}
	}
	t, why := told(f)
	if t == nil {
		return []Result{why}
	}
	late := lateAfter(time.Duration(t.GetInterval()))
	switch {
	case int(t.GetSidecarCount()) > len(t.GetSidecars()):
		return []Result{ok("not looked at: the %d that it hears of are too many to be named", t.GetSidecarCount())}
	case f.started(late):
		return []Result{ok("not known yet: the forwarder has just started")}
	}
	heard := map[string]bool{}
	for _, s := range t.GetSidecars() {
		heard[s.GetNamespace()+"/"+s.GetPod()] = !s.GetGone()
	}
	since := f.Now.Add(-f.Cloud.Telemetry.Age - late)
	return f.silent("have a sidecar that the forwarder does not hear of, and gets nothing from",
		"where sidecar-trust and workload-network-policy find nothing, kubectl -n %s logs POD -c "+inject.Goproxy+" says why",
		func(p *corev1.Pod) bool { return tells(p, since) && !heard[p.Namespace+"/"+p.Name] }, ok("of all %d", len(f.Injected)))
}

// tells says that a pod's sidecar runs since before a moment, and is to say how it is.
func tells(p *corev1.Pod, before time.Time) bool {
	if interval, err := time.ParseDuration(variable(p, "TELEMETRY_INTERVAL")); err == nil && interval == 0 {
		return false
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if c.Name == inject.Goproxy && c.State.Running != nil {
			return c.State.Running.StartedAt.Time.Before(before)
		}
	}
	return false // which another check tells
}

// silent warns, by namespace, of the injected pods from which nothing comes. The hint has
// the namespace in it.
func (f *Facts) silent(text, hint string, is func(*corev1.Pod) bool, well Result) []Result {
	pods := map[string][]string{}
	for i := range f.Injected {
		if p := &f.Injected[i]; is(p) {
			pods[p.Namespace] = append(pods[p.Namespace], p.Name)
		}
	}
	var bad []Result
	for _, namespace := range slices.Sorted(maps.Keys(pods)) {
		all := pods[namespace]
		bad = append(bad, warn(fmt.Sprintf(hint, namespace), "%d pods, such as %s, %s", len(all), all[0], text).of("namespace "+namespace))
	}
	return each(bad, well)
}

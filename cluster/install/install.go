// Package install puts the cloud and the operator into a cluster, in order, with the
// keys between them, and takes them out again.
package install

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/helm"
)

// Names of the releases and of the namespaces they go into by default.
const (
	Operator       = "speedscale-operator"
	Cloud          = "speedscale-cloud"
	Namespace      = "speedscale"
	CloudNamespace = "speedscale-cloud"
)

// Releases are those of a cluster: a *helm.Client.
type Releases interface {
	Apply(ctx context.Context, r helm.Release, timeout time.Duration) (notes string, err error)
	Values(name, namespace string) (values map[string]any, found bool, err error)
	Uninstall(name, namespace string, timeout time.Duration) (found bool, err error)
}

var _ Releases = (*helm.Client)(nil)

// Options say what is installed where.
type Options struct {
	// Namespace is the operator's, CloudNamespace the cloud's.
	Namespace, CloudNamespace string
	// AppURL is a cloud elsewhere, which APIKey opens with the scopes ingest and
	// control. Empty installs one.
	AppURL, APIKey string
	// AppCA has PEM certificates that verify a cloud elsewhere, beside the public ones
	// that are enough where it is "".
	AppCA string
	// OperatorValues and CloudValues win over those of the charts.
	OperatorValues, CloudValues map[string]any
	// Charts has a folder for each chart.
	Charts fs.FS
	// Version is that of the images, where no value says another one; "" is the charts'
	// appVersion.
	Version string
	// NewKey makes an API key.
	NewKey func() string
	// Timeout bounds the wait until a release, or a Deployment that the operator makes, is
	// ready.
	Timeout time.Duration
	// Progress is told of each step; nil is silent.
	Progress func(step string)
	// Warn is told of what stays otherwise than the version; nil is silent.
	Warn func(text string)
}

func (o *Options) say(step string) {
	if o.Progress != nil {
		o.Progress(step)
	}
}

// part is a release to be. Its Values are what speedctl sets by itself, and given those
// of the options.
type part struct {
	helm.Release
	given map[string]any
}

// over is the release with the values that it has already between both, nil for none.
func (p part) over(old map[string]any) helm.Release {
	p.Values = merge(merge(p.Values, old), p.given)
	return p.Release
}

// parts are what is installed, in order; the last one is the operator.
func (o *Options) parts() ([]part, error) {
	var list []part
	add := func(name, namespace string, own, given map[string]any) error {
		folder, err := fs.Sub(o.Charts, name)
		if err != nil {
			return err
		}
		list = append(list, part{helm.Release{Name: name, Namespace: namespace, Chart: folder, Version: o.Version, Values: own}, given})
		return nil
	}
	if o.AppURL == "" {
		if err := add(Cloud, o.CloudNamespace, map[string]any{"apiKeySecret": CloudKeys}, o.CloudValues); err != nil {
			return nil, err
		}
	}
	own := map[string]any{"apiKeySecret": OperatorKey}
	if o.AppURL != "" {
		own["appUrl"] = o.AppURL // the chart's policies open its port
	}
	if o.AppCA != "" {
		own["appCA"] = o.AppCA
	}
	return list, add(Operator, o.Namespace, own, o.OperatorValues)
}

// fresh are the releases of parts with no values from before.
func fresh(parts []part) (releases []helm.Release) {
	for _, p := range parts {
		releases = append(releases, p.over(nil))
	}
	return releases
}

// Template renders all of it without a cluster. The Secrets are not in it, since it
// would have to make keys: they have to be made by hand.
func Template(ctx context.Context, o Options, version string) (manifests string, err error) {
	parts, err := o.parts()
	if err != nil {
		return "", err
	}
	return template(ctx, fresh(parts), version)
}

// template renders releases, or says which value of them is wrong.
func template(ctx context.Context, releases []helm.Release, version string) (manifests string, err error) {
	for _, r := range releases {
		m, err := helm.Template(ctx, r, version)
		if err != nil {
			return "", &ValuesError{err}
		}
		manifests += m
	}
	return manifests, nil
}

// ValuesError says which value of a chart is wrong.
type ValuesError struct{ error }

// Unwrap returns what the chart says.
func (e *ValuesError) Unwrap() error { return e.error }

// Run installs, or upgrades what is there; it waits until all is ready, and is safe
// to repeat. In a cluster that is too old, with values that are wrong (*ValuesError) or
// without the rights (*DeniedError), nothing is made.
func Run(ctx context.Context, c kubernetes.Interface, h Releases, o Options) error {
	version, err := supported(c.Discovery())
	if err != nil {
		return err
	}
	parts, err := o.parts()
	if err != nil {
		return err
	}
	if _, err := template(ctx, fresh(parts), version); err != nil {
		return err
	}
	if err := o.allowed(ctx, c); err != nil {
		return err
	}
	if err := given(ctx, c, fresh(parts)); err != nil {
		return err
	}
	keyHash, err := o.secrets(ctx, c)
	if err != nil {
		return err
	}
	parts[len(parts)-1].Values["apiKeyHash"] = keyHash
	for _, r := range fresh(parts) {
		o.say("installing " + r.Name + " into namespace " + r.Namespace)
		if _, err := h.Apply(ctx, r, o.Timeout); err != nil {
			return err
		}
	}
	return o.ready(ctx, c)
}

// secrets makes the namespaces, and the keys by which one part opens the other. keyHash is
// another one whenever the operator's Secret is.
func (o *Options) secrets(ctx context.Context, c kubernetes.Interface) (keyHash string, err error) {
	if err := ensureNamespace(ctx, c, o.Namespace); err != nil {
		return "", err
	}
	if o.AppURL != "" {
		return putOperatorKey(ctx, c, o.Namespace, secretOf(o.OperatorValues, OperatorKey), o.AppURL, []byte(o.APIKey))
	}
	if err := ensureNamespace(ctx, c, o.CloudNamespace); err != nil {
		return "", err
	}
	keys, err := ensureKeys(ctx, c, o.CloudNamespace, secretOf(o.CloudValues, CloudKeys), o.NewKey)
	if err != nil {
		return "", err
	}
	return putOperatorKey(ctx, c, o.Namespace, secretOf(o.OperatorValues, OperatorKey), o.cloudURL(), keys.Data[EntryOperator])
}

// cloudURL is where the operator finds the cloud that is installed beside it.
func (o *Options) cloudURL() string {
	scheme, standard := "http", "80"
	if secret, _, _ := unstructured.NestedString(o.CloudValues, "tls", "secret"); secret != "" {
		scheme, standard = "https", "443"
	}
	url := scheme + "://" + Cloud + "." + o.CloudNamespace + ".svc"
	port, found, err := unstructured.NestedFieldNoCopy(o.CloudValues, "service", "port")
	if !found || err != nil {
		port = 80 // what the chart has
	}
	if p := fmt.Sprint(port); p != standard {
		url += ":" + p
	}
	return url
}

// Remove uninstalls both releases, their Secrets and the operator's Lease; an operator that is of no such
// release is an error, and then all of it stays. Namespaces stay, and so does the
// cloud's volume, with all that was captured, unless data is set.
func Remove(ctx context.Context, c kubernetes.Interface, h Releases, o Options, data bool) (found bool, err error) {
	// The operator goes first, while what it sends to is still there.
	for _, r := range []helm.Release{{Name: Operator, Namespace: o.Namespace}, {Name: Cloud, Namespace: o.CloudNamespace}} {
		was, err := h.Uninstall(r.Name, r.Namespace, o.Timeout)
		if err == nil && !was && r.Name == Operator {
			err = o.removable(ctx, c)
		}
		if err != nil {
			return found, err
		}
		found = found || was
	}
	if err := deleteSecret(ctx, c, o.Namespace, OperatorKey); err != nil {
		return found, err
	}
	// By which the operator's replicas chose their leader; no chart has it.
	err = c.CoordinationV1().Leases(o.Namespace).Delete(ctx, Operator, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return found, fmt.Errorf("lease %q in namespace %q: %w", Operator, o.Namespace, err)
	}
	if !data {
		return found, nil // the volume's catalog has the hashes of the cloud's keys
	}
	if err := deleteSecret(ctx, c, o.CloudNamespace, CloudKeys); err != nil {
		return found, err
	}
	claims := metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + Cloud}
	if err := c.CoreV1().PersistentVolumeClaims(o.CloudNamespace).DeleteCollection(ctx, metav1.DeleteOptions{}, claims); err != nil {
		return found, fmt.Errorf("volumes in namespace %q: %w", o.CloudNamespace, err)
	}
	return found, nil
}

// Package install puts the cloud and the operator into a cluster, in order, with the
// keys between them, and takes them out again.
package install

import (
	"cmp"
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
	// Namespace is the operator's, CloudNamespace the cloud's. An empty CloudNamespace is
	// where the cloud is, or the usual one.
	Namespace, CloudNamespace string
	// AppURL is a cloud elsewhere, which APIKey opens with the scopes ingest and
	// control. Empty goes on with the one that the operator has, or installs one.
	AppURL, APIKey string
	// kept says that AppURL is the one that the operator has: its Secret stays.
	kept bool
	// AppCA has PEM certificates that verify a cloud elsewhere, beside the public ones
	// that are enough where it is "".
	AppCA string
	// OperatorValues and CloudValues win over those that were given before, which
	// ResetValues has forgotten, and these over those of the charts.
	OperatorValues, CloudValues map[string]any
	ResetValues                 bool
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
	p.Values = helm.Merge(helm.Merge(p.Values, old), p.given)
	return p.Release
}

// release is that of a part with the values that it was given before, and whether it is there.
// The size of the cloud's volume stays, unless it is given now.
func (o *Options) release(ctx context.Context, c kubernetes.Interface, h Releases, p part) (r helm.Release, found bool, err error) {
	old, found, err := h.Values(p.Name, p.Namespace)
	if err != nil {
		return r, false, err
	}
	if o.ResetValues {
		old = nil
	}
	if p.Name == Cloud {
		size, err := presentSize(ctx, c, p.Namespace)
		if err != nil {
			return r, false, err
		}
		if size != "" {
			old = helm.Merge(old, map[string]any{"persistence": map[string]any{"size": size}})
		}
	}
	return p.over(old), found, nil
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
	given := o.OperatorValues
	if o.AppURL != "" && !o.kept {
		// The chart's policies open its port. An authority from before is of another cloud.
		given = helm.Merge(map[string]any{"appUrl": o.AppURL, "appCA": o.AppCA}, given)
	}
	return list, add(Operator, o.Namespace, map[string]any{"apiKeySecret": OperatorKey}, given)
}

// Template renders all of it without a cluster. The Secrets are not in it, since it
// would have to make keys: they have to be made by hand.
func Template(ctx context.Context, o Options, version string) (manifests string, err error) {
	o.CloudNamespace = cmp.Or(o.CloudNamespace, CloudNamespace)
	parts, err := o.parts()
	if err != nil {
		return "", err
	}
	var releases []helm.Release
	for _, p := range parts {
		releases = append(releases, p.over(nil))
	}
	return template(ctx, releases, version)
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

// Run installs, or upgrades what is there with the values that it has; it waits until all is
// ready, and is safe to repeat. It returns the options with what they left open. In a cluster
// that is too old, with values that are wrong (*ValuesError), without the rights
// (*DeniedError), in the place of something else or with a volume that cannot be had
// (*RefusedError), nothing is made.
func Run(ctx context.Context, c kubernetes.Interface, h Releases, o Options) (Options, error) {
	version, err := supported(c.Discovery())
	if err != nil {
		return o, err
	}
	if o, err = settle(ctx, c, h, o); err != nil {
		return o, err
	}
	parts, err := o.parts()
	if err != nil {
		return o, err
	}
	var releases []helm.Release
	for _, p := range parts {
		r, _, err := o.release(ctx, c, h, p)
		if err != nil {
			return o, err
		}
		releases = append(releases, r)
	}
	manifests, err := template(ctx, releases, version)
	if err != nil {
		return o, err
	}
	if err := o.allowed(ctx, c); err != nil {
		return o, err
	}
	if err := given(ctx, c, releases); err != nil {
		return o, err
	}
	g, err := volume(ctx, c, manifests)
	if err != nil {
		return o, err
	}
	operator := &releases[len(releases)-1]
	keyHash, err := o.secrets(ctx, c, releases[0].Values, operator.Values)
	if err != nil {
		return o, err
	}
	if keyHash != "" {
		operator.Values = helm.Merge(operator.Values, helm.Merge(map[string]any{"apiKeyHash": keyHash}, o.OperatorValues))
	}
	return o, o.apply(ctx, c, h, "installing", releases, g)
}

// apply brings releases into the cluster, one after the other, and waits until they are ready.
func (o *Options) apply(ctx context.Context, c kubernetes.Interface, h Releases, doing string, releases []helm.Release, g growth) error {
	if err := g.do(ctx, c, o.Timeout); err != nil {
		return err
	}
	o.tags(releases)
	for _, r := range releases {
		o.say(doing + " " + r.Name + " in namespace " + r.Namespace)
		if _, err := h.Apply(ctx, r, o.Timeout); err != nil {
			return o.late(ctx, c, r, err)
		}
	}
	return o.ready(ctx, c)
}

// secrets makes the namespaces, and the keys by which one part opens the other. cloud and
// operator are their values, the former of the one in the cluster. keyHash is another one
// whenever the operator's Secret is, and "" where that stays as it is.
func (o *Options) secrets(ctx context.Context, c kubernetes.Interface, cloud, operator map[string]any) (keyHash string, err error) {
	if err := ensureNamespace(ctx, c, o.Namespace); err != nil || o.kept {
		return "", err
	}
	if o.AppURL != "" {
		return putOperatorKey(ctx, c, o.Namespace, secretOf(operator, OperatorKey), o.AppURL, []byte(o.APIKey))
	}
	if err := ensureNamespace(ctx, c, o.CloudNamespace); err != nil {
		return "", err
	}
	keys, err := ensureKeys(ctx, c, o.CloudNamespace, secretOf(cloud, CloudKeys), o.NewKey)
	if err != nil {
		return "", err
	}
	return putOperatorKey(ctx, c, o.Namespace, secretOf(operator, OperatorKey), cloudURL(o.CloudNamespace, cloud), keys.Data[EntryOperator])
}

// cloudURL is where the operator finds the cloud that is installed beside it, with values.
func cloudURL(namespace string, values map[string]any) string {
	scheme, standard := "http", "80"
	if secret, _, _ := unstructured.NestedString(values, "tls", "secret"); secret != "" {
		scheme, standard = "https", "443"
	}
	url := scheme + "://" + Cloud + "." + namespace + ".svc"
	port, found, err := unstructured.NestedFieldNoCopy(values, "service", "port")
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
// cloud's volume, with all that was captured, unless data is set. The volume of a cloud that
// is of no such release is an error too.
func Remove(ctx context.Context, c kubernetes.Interface, h Releases, o Options, data bool) (found bool, err error) {
	if data {
		if err := o.foreignCloud(ctx, c); err != nil {
			return false, err
		}
	}
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

package certs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	acadmissionv1 "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	acmetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fieldManager owns the caBundle fields and the reference to the operator's namespace, and
// nothing else of the configurations.
const fieldManager = "speedscale-operator-certs"

// wanted is what each configuration has of ours.
type wanted struct {
	bundle []byte
	// home is the operator's namespace. Where that is deleted, which the operator cannot
	// outlive, the garbage collector takes the configurations along: nobody is left to answer,
	// and a failurePolicy of Fail would keep pods from being made for ever. It is nil where
	// it cannot be read.
	home *corev1.Namespace
}

func (w wanted) owners() []*acmetav1.OwnerReferenceApplyConfiguration {
	if w.home == nil {
		return nil
	}
	return []*acmetav1.OwnerReferenceApplyConfiguration{
		acmetav1.OwnerReference().WithAPIVersion("v1").WithKind("Namespace").WithName(w.home.Name).WithUID(w.home.UID),
	}
}

func (w wanted) owned(c metav1.Object) bool {
	return w.home == nil || slices.ContainsFunc(c.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == w.home.UID })
}

// A configuration with what is wanted of it: what to apply, and whether it has it already.
type configuration func(ctx context.Context, name string, want wanted) (patch runtime.ApplyConfiguration, same bool, err error)

// writeBundles puts the bundle into each configuration that has another one. It goes
// on after an error, and says whether anything was written.
func (m *Manager) writeBundles(ctx context.Context, bundle []byte) (changed bool, err error) {
	var errs []error
	want := wanted{bundle: bundle, home: &corev1.Namespace{}}
	if err := m.o.Secret.Client.Get(ctx, client.ObjectKey{Name: m.o.Secret.Namespace}, want.home); err != nil {
		errs = append(errs, fmt.Errorf("namespace %q, which owns the webhook configurations: %w", m.o.Secret.Namespace, err))
		want.home = nil
	}
	write := func(names []string, read configuration) {
		for _, name := range names {
			wrote, err := m.writeBundle(ctx, name, want, read)
			changed = changed || wrote
			if err != nil {
				errs = append(errs, fmt.Errorf("webhook configuration %q: %w", name, err))
			}
		}
	}
	write(m.o.Mutating, m.mutating)
	write(m.o.Validating, m.validating)
	return changed, errors.Join(errs...)
}

// writeBundle uses server-side apply, so that all other fields stay their installer's.
func (m *Manager) writeBundle(ctx context.Context, name string, want wanted, read configuration) (wrote bool, err error) {
	patch, same, err := read(ctx, name, want)
	if err != nil || same {
		return false, err
	}
	if err := m.o.Secret.Client.Apply(ctx, patch, client.FieldOwner(fieldManager), client.ForceOwnership); err != nil {
		return false, err
	}
	m.o.Logger.Info("caBundle written", "configuration", name)
	return true, nil
}

func (m *Manager) mutating(ctx context.Context, name string, want wanted) (runtime.ApplyConfiguration, bool, error) {
	c := &admissionv1.MutatingWebhookConfiguration{}
	if err := m.o.Secret.Client.Get(ctx, client.ObjectKey{Name: name}, c); err != nil {
		return nil, false, err
	}
	// With the UID, one that is gone by then is not made anew.
	patch, same := acadmissionv1.MutatingWebhookConfiguration(name).WithUID(c.UID).WithOwnerReferences(want.owners()...), want.owned(c)
	for _, w := range c.Webhooks {
		same = same && bytes.Equal(w.ClientConfig.CABundle, want.bundle)
		patch.WithWebhooks(acadmissionv1.MutatingWebhook().WithName(w.Name).
			WithClientConfig(acadmissionv1.WebhookClientConfig().WithCABundle(want.bundle...)))
	}
	return patch, same, nil
}

func (m *Manager) validating(ctx context.Context, name string, want wanted) (runtime.ApplyConfiguration, bool, error) {
	c := &admissionv1.ValidatingWebhookConfiguration{}
	if err := m.o.Secret.Client.Get(ctx, client.ObjectKey{Name: name}, c); err != nil {
		return nil, false, err
	}
	patch, same := acadmissionv1.ValidatingWebhookConfiguration(name).WithUID(c.UID).WithOwnerReferences(want.owners()...), want.owned(c)
	for _, w := range c.Webhooks {
		same = same && bytes.Equal(w.ClientConfig.CABundle, want.bundle)
		patch.WithWebhooks(acadmissionv1.ValidatingWebhook().WithName(w.Name).
			WithClientConfig(acadmissionv1.WebhookClientConfig().WithCABundle(want.bundle...)))
	}
	return patch, same, nil
}

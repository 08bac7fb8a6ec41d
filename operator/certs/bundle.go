package certs

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	acadmissionv1 "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fieldManager owns the caBundle fields, and nothing else of the configurations.
const fieldManager = "speedscale-operator-certs"

// A configuration with a new bundle: what to apply, and whether it has it already.
type configuration func(ctx context.Context, name string, bundle []byte) (patch runtime.ApplyConfiguration, same bool, err error)

// writeBundles puts the bundle into each configuration that has another one. It goes
// on after an error, and says whether anything was written.
func (m *Manager) writeBundles(ctx context.Context, bundle []byte) (changed bool, err error) {
	var errs []error
	write := func(names []string, read configuration) {
		for _, name := range names {
			wrote, err := m.writeBundle(ctx, name, bundle, read)
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
func (m *Manager) writeBundle(ctx context.Context, name string, bundle []byte, read configuration) (wrote bool, err error) {
	patch, same, err := read(ctx, name, bundle)
	if err != nil || same {
		return false, err
	}
	if err := m.o.Secret.Client.Apply(ctx, patch, client.FieldOwner(fieldManager), client.ForceOwnership); err != nil {
		return false, err
	}
	m.o.Logger.Info("caBundle written", "configuration", name)
	return true, nil
}

func (m *Manager) mutating(ctx context.Context, name string, bundle []byte) (runtime.ApplyConfiguration, bool, error) {
	c := &admissionv1.MutatingWebhookConfiguration{}
	if err := m.o.Secret.Client.Get(ctx, client.ObjectKey{Name: name}, c); err != nil {
		return nil, false, err
	}
	// With the UID, one that is gone by then is not made anew.
	patch, same := acadmissionv1.MutatingWebhookConfiguration(name).WithUID(c.UID), true
	for _, w := range c.Webhooks {
		same = same && bytes.Equal(w.ClientConfig.CABundle, bundle)
		patch.WithWebhooks(acadmissionv1.MutatingWebhook().WithName(w.Name).
			WithClientConfig(acadmissionv1.WebhookClientConfig().WithCABundle(bundle...)))
	}
	return patch, same, nil
}

func (m *Manager) validating(ctx context.Context, name string, bundle []byte) (runtime.ApplyConfiguration, bool, error) {
	c := &admissionv1.ValidatingWebhookConfiguration{}
	if err := m.o.Secret.Client.Get(ctx, client.ObjectKey{Name: name}, c); err != nil {
		return nil, false, err
	}
	patch, same := acadmissionv1.ValidatingWebhookConfiguration(name).WithUID(c.UID), true
	for _, w := range c.Webhooks {
		same = same && bytes.Equal(w.ClientConfig.CABundle, bundle)
		patch.WithWebhooks(acadmissionv1.ValidatingWebhook().WithName(w.Name).
			WithClientConfig(acadmissionv1.WebhookClientConfig().WithCABundle(bundle...)))
	}
	return patch, same, nil
}

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

// writeBundles puts the bundle into each configuration that has another one, by
// server-side apply, so that all other fields stay their installer's. It goes
// on after an error, and says whether anything had to be written.
func (m *Manager) writeBundles(ctx context.Context, bundle []byte) (changed bool, err error) {
	var errs []error
	write := func(name string, current func(string) ([]admissionv1.WebhookClientConfig, runtime.ApplyConfiguration, error)) {
		webhooks, patch, err := current(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("webhook configuration %q: %w", name, err))
			return
		}
		same := true
		for _, w := range webhooks {
			same = same && bytes.Equal(w.CABundle, bundle)
		}
		if same {
			return
		}
		if err := m.o.Secret.Client.Apply(ctx, patch, client.FieldOwner(fieldManager), client.ForceOwnership); err != nil {
			errs = append(errs, fmt.Errorf("webhook configuration %q: %w", name, err))
			return
		}
		changed = true
		m.o.Logger.Info("caBundle written", "configuration", name)
	}
	for _, name := range m.o.Mutating {
		write(name, func(name string) ([]admissionv1.WebhookClientConfig, runtime.ApplyConfiguration, error) {
			return m.mutating(ctx, name, bundle)
		})
	}
	for _, name := range m.o.Validating {
		write(name, func(name string) ([]admissionv1.WebhookClientConfig, runtime.ApplyConfiguration, error) {
			return m.validating(ctx, name, bundle)
		})
	}
	return changed, errors.Join(errs...)
}

func (m *Manager) mutating(ctx context.Context, name string, bundle []byte) ([]admissionv1.WebhookClientConfig, runtime.ApplyConfiguration, error) {
	c := &admissionv1.MutatingWebhookConfiguration{}
	if err := m.o.Secret.Client.Get(ctx, client.ObjectKey{Name: name}, c); err != nil {
		return nil, nil, err
	}
	patch := acadmissionv1.MutatingWebhookConfiguration(name).WithUID(c.UID) // never creates one that is gone
	var out []admissionv1.WebhookClientConfig
	for _, w := range c.Webhooks {
		out = append(out, w.ClientConfig)
		patch.WithWebhooks(acadmissionv1.MutatingWebhook().WithName(w.Name).
			WithClientConfig(acadmissionv1.WebhookClientConfig().WithCABundle(bundle...)))
	}
	return out, patch, nil
}

func (m *Manager) validating(ctx context.Context, name string, bundle []byte) ([]admissionv1.WebhookClientConfig, runtime.ApplyConfiguration, error) {
	c := &admissionv1.ValidatingWebhookConfiguration{}
	if err := m.o.Secret.Client.Get(ctx, client.ObjectKey{Name: name}, c); err != nil {
		return nil, nil, err
	}
	patch := acadmissionv1.ValidatingWebhookConfiguration(name).WithUID(c.UID) // never creates one that is gone
	var out []admissionv1.WebhookClientConfig
	for _, w := range c.Webhooks {
		out = append(out, w.ClientConfig)
		patch.WithWebhooks(acadmissionv1.ValidatingWebhook().WithName(w.Name).
			WithClientConfig(acadmissionv1.WebhookClientConfig().WithCABundle(bundle...)))
	}
	return out, patch, nil
}

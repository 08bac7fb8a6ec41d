package certs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// How often what is in the cluster is compared with what it should be, and how
	// soon a pass that failed is repeated.
	interval = time.Minute
	retry    = 5 * time.Second
	// A pass gives up after this time, so that a stuck API server is noticed.
	passLimit = 30 * time.Second
)

// repeat makes passes until the context ends. What goes wrong is logged and
// tried again; it never ends the process.
func repeat(ctx context.Context, log *slog.Logger, pass func(context.Context) error) {
	for ctx.Err() == nil {
		wait := interval
		if err := pass(ctx); err != nil && ctx.Err() == nil {
			log.Warn("certificates are not as they should be", "error", err)
			wait = retry
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// Secret is where in the cluster something is kept.
type Secret struct {
	// Client reaches the API server without a cache: a cached one would read all
	// Secrets. It needs get, create and update of the Secret.
	Client client.Client
	// Namespace and Name are the Secret's.
	Namespace, Name string
	// Owner, where it is given, takes the Secret along when it is deleted.
	Owner *metav1.OwnerReference
}

// ensure reads the Secret and fills it where that is due. fill gets what is there,
// nil for nothing, and returns what has to be written, nil to leave it. Of
// replicas that fill it at the same time one succeeds; fill is called again in
// the others, with what that one wrote.
func (s Secret) ensure(ctx context.Context, fill func(map[string][]byte) (map[string][]byte, error)) error {
	for {
		err := s.readOrWrite(ctx, fill)
		switch {
		case err == nil:
			return nil
		case !apierrors.IsAlreadyExists(err) && !apierrors.IsConflict(err), ctx.Err() != nil:
			return fmt.Errorf("secret %q: %w", s.Namespace+"/"+s.Name, err)
		}
	}
}

func (s Secret) readOrWrite(ctx context.Context, fill func(map[string][]byte) (map[string][]byte, error)) error {
	secret := &corev1.Secret{}
	err := s.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: s.Name}, secret)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return err
	}
	data, err := fill(secret.Data)
	if err != nil || data == nil {
		return err
	}
	secret.Data = data
	if !missing {
		return s.Client.Update(ctx, secret)
	}
	secret.ObjectMeta = metav1.ObjectMeta{
		Namespace: s.Namespace, Name: s.Name,
		Labels: map[string]string{"controlplane.speedscale.com/component": "operator"},
	}
	if s.Owner != nil {
		secret.OwnerReferences = []metav1.OwnerReference{*s.Owner}
	}
	return s.Client.Create(ctx, secret)
}

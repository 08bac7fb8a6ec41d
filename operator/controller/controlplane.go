// Package controller brings the cluster to what the operator's settings say.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	accoordinationv1 "k8s.io/client-go/applyconfigurations/coordination/v1"
	acmetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/speedscale/speedscale/operator/resource"
)

const (
	// fieldManager owns the fields that are applied here.
	fieldManager = "speedscale-operator"
	// passLimit bounds one pass, so that a stuck API server is noticed.
	passLimit = 30 * time.Second
	// again is how soon a pass is repeated that lacks the certificate, and how late
	// one that nothing else asks for: the certificate may have been renewed.
	again    = time.Second
	lateness = 10 * time.Minute
)

// ControlPlane keeps the objects of the control plane as the settings say. They
// are owned by the operator's ConfigMap, so that they go when the chart goes.
type ControlPlane struct {
	// Client reads the ConfigMap and applies the objects.
	Client client.Client
	// Config is what the objects are made from.
	Config resource.Config
	// Certificate returns the forwarder's, in PEM, "" where it is not made yet, and
	// DemoCertificate the demo's.
	Certificate, DemoCertificate func() string
	// Namespaces are those whose workloads are stamped; empty is all of them.
	Namespaces []string
	// Logger says what could not be applied.
	Logger *slog.Logger

	// unstamped is how many passes found the demo without its stamp.
	unstamped int
}

var _ reconcile.Reconciler = (*ControlPlane)(nil)

// Setup has the manager call Reconcile when the ConfigMap or one of the objects
// changes. It is for the leader only.
func (c *ControlPlane) Setup(mgr ctrl.Manager) error {
	// What changes the status only needs no answer.
	spec := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	return ctrl.NewControllerManagedBy(mgr).
		Named("controlplane").
		For(&corev1.ConfigMap{}).
		Owns(&appsv1.Deployment{}, spec).
		Owns(&corev1.Service{}).
		Owns(&corev1.ServiceAccount{}).
		Complete(c)
}

// Reconcile makes one pass.
func (c *ControlPlane) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if req.Name != resource.Operator || req.Namespace != c.Config.Namespace {
		return reconcile.Result{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, passLimit)
	defer cancel()
	config := &corev1.ConfigMap{}
	err := c.Client.Get(ctx, req.NamespacedName, config)
	if apierrors.IsNotFound(err) || err == nil && config.DeletionTimestamp != nil {
		return reconcile.Result{}, nil // the chart goes, and takes all of it along
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	certificate := c.Certificate()
	if certificate == "" {
		return reconcile.Result{RequeueAfter: again}, nil
	}
	owner := acmetav1.OwnerReference().WithAPIVersion("v1").WithKind("ConfigMap").
		WithName(config.Name).WithUID(config.UID).WithController(true)
	objects := append(resource.ForwarderObjects(c.Config, certificate, owner),
		// The lease of the leader has no owner by itself.
		accoordinationv1.Lease(resource.Operator, c.Config.Namespace).WithOwnerReferences(owner))
	if c.Config.WithInspector {
		objects = append(objects, resource.InspectorObjects(c.Config, owner)...)
	}
	demo := c.Config.Demo == resource.DemoJava
	if demo {
		certificate := c.DemoCertificate()
		if certificate == "" {
			return reconcile.Result{RequeueAfter: again}, c.apply(ctx, objects)
		}
		objects = append(objects, resource.DemoObjects(c.Config, certificate, owner)...)
	}
	if err := c.apply(ctx, objects); err != nil {
		return reconcile.Result{}, err
	}
	if !c.Config.WithInspector {
		if err := c.removeInspector(ctx, config); err != nil {
			return reconcile.Result{}, err
		}
	}
	if !demo {
		return reconcile.Result{RequeueAfter: lateness}, c.removeDemo(ctx, config)
	}
	waits, err := c.demoWaits(ctx)
	if err != nil || !waits {
		c.unstamped = 0
		return reconcile.Result{RequeueAfter: lateness}, err
	}
	c.unstamped++
	return reconcile.Result{RequeueAfter: min(again<<min(c.unstamped-1, 10), lateness)}, nil
}

// apply goes on after an error, so that one refused object does not keep back the
// others.
func (c *ControlPlane) apply(ctx context.Context, objects []runtime.ApplyConfiguration) error {
	var errs []error
	for _, object := range objects {
		if err := c.Client.Apply(ctx, object, client.FieldOwner(fieldManager), client.ForceOwnership); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", describe(object), err))
		}
	}
	err := errors.Join(errs...)
	if err != nil {
		c.Logger.Warn("control plane is not as it should be", "error", err)
	}
	return err
}

// describe names an object as messages do.
func describe(object runtime.ApplyConfiguration) string {
	named, ok := object.(interface {
		GetKind() *string
		GetName() *string
	})
	if !ok || named.GetKind() == nil || named.GetName() == nil {
		return fmt.Sprintf("%T", object)
	}
	return fmt.Sprintf("%s %q", *named.GetKind(), *named.GetName())
}

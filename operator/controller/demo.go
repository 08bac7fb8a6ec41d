package controller

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/operator/resource"
)

// demoWaits says whether java-server waits for its stamp. It has none where it was made
// before the webhook could be reached, and is then applied again; nor where the sidecar
// was withdrawn or its namespace is not selected, and that stays so.
func (c *ControlPlane) demoWaits(ctx context.Context) (bool, error) {
	if len(c.Namespaces) > 0 && !slices.Contains(c.Namespaces, c.Config.Namespace) {
		return false, nil
	}
	d := &appsv1.Deployment{}
	err := c.Client.Get(ctx, client.ObjectKey{Namespace: c.Config.Namespace, Name: resource.JavaServer}, d)
	if apierrors.IsNotFound(err) {
		return true, nil // the cache is behind
	}
	return d.Spec.Template.Annotations[annotation.Stamp] == "" && d.Annotations[annotation.Refused] == "", err
}

// removeDemo takes away what an operator that had a demo made. Objects of these names
// that are somebody else's stay.
func (c *ControlPlane) removeDemo(ctx context.Context, owner *corev1.ConfigMap) error {
	deployments, service, configMap := resource.DemoLeftovers()
	objects := []client.Object{&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: service}}}
	for _, name := range deployments {
		objects = append(objects, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	found, err := c.remove(ctx, owner, objects)
	if err != nil || !found {
		return err
	}
	return c.delete(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: c.Config.Namespace, Name: configMap}})
}

// remove deletes those of the objects that are there and the owner's, and says whether
// there were any.
func (c *ControlPlane) remove(ctx context.Context, owner *corev1.ConfigMap, objects []client.Object) (found bool, err error) {
	for _, o := range objects {
		err := c.Client.Get(ctx, client.ObjectKey{Namespace: c.Config.Namespace, Name: o.GetName()}, o)
		if err != nil && !apierrors.IsNotFound(err) {
			return found, err
		}
		if err != nil || !metav1.IsControlledBy(o, owner) {
			continue
		}
		found = true
		if err := c.delete(ctx, o); err != nil {
			return found, err
		}
	}
	return found, nil
}

func (c *ControlPlane) delete(ctx context.Context, o client.Object) error {
	err := c.Client.Delete(ctx, o, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %q: %w", o.GetName(), err)
	}
	return nil
}

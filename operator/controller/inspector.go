package controller

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/operator/resource"
)

// removeInspector takes away what an operator that had an inspector made.
func (c *ControlPlane) removeInspector(ctx context.Context, owner *corev1.ConfigMap) error {
	name := metav1.ObjectMeta{Name: resource.Inspector}
	_, err := c.remove(ctx, owner, []client.Object{&appsv1.Deployment{ObjectMeta: name}, &corev1.ServiceAccount{ObjectMeta: name}})
	return err
}

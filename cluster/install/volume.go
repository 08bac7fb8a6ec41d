package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
)

// claimName is the claim of the cloud's only pod.
const claimName = "data-" + Cloud + "-0"

// wantedSet is the cloud's StatefulSet in manifests, nil where there is none.
func wantedSet(manifests string) (*appsv1.StatefulSet, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		var object map[string]any
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			return nil, nil
		} else if err != nil {
			return nil, fmt.Errorf("manifests: %w", err)
		}
		if object["kind"] == "StatefulSet" {
			set := &appsv1.StatefulSet{}
			return set, runtime.DefaultUnstructuredConverter.FromUnstructured(object, set)
		}
	}
}

// cloudSet is the StatefulSet that is there, nil where there is none.
func cloudSet(ctx context.Context, c kubernetes.Interface, namespace string) (*appsv1.StatefulSet, error) {
	set, err := c.AppsV1().StatefulSets(namespace).Get(ctx, Cloud, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("statefulset %q in namespace %q: %w", Cloud, namespace, err)
	}
	return set, nil
}

// cloudClaim is the claim that is there, nil where there is none.
func cloudClaim(ctx context.Context, c kubernetes.Interface, namespace string) (*corev1.PersistentVolumeClaim, error) {
	claim, err := c.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, claimName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("persistentvolumeclaim %q in namespace %q: %w", claimName, namespace, err)
	}
	return claim, nil
}

// MissingStorage says why nothing would provide the volume of a cloud that is installed with
// these options (*RefusedError), or why that is not known.
func MissingStorage(ctx context.Context, c kubernetes.Interface, o Options) error {
	manifests, err := Template(ctx, o, "")
	if err != nil {
		return err
	}
	want, err := wantedSet(manifests)
	if err != nil || want == nil {
		return err
	}
	return missingStorage(ctx, c, want)
}

func missingStorage(ctx context.Context, c kubernetes.Interface, want *appsv1.StatefulSet) error {
	if len(want.Spec.VolumeClaimTemplates) == 0 {
		return nil
	}
	if claim, err := cloudClaim(ctx, c, want.Namespace); err != nil || claim != nil {
		return err
	}
	classes, err := c.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("storage classes: %w", err)
	}
	class := className(want.Spec.VolumeClaimTemplates[0])
	if provided(class, classes.Items) {
		return nil
	}
	// One may have been made by hand.
	volumes, err := c.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("volumes: %w", err)
	}
	if slices.ContainsFunc(volumes.Items, func(v corev1.PersistentVolume) bool {
		return v.Spec.StorageClassName == class && v.Status.Phase == corev1.VolumeAvailable
	}) {
		return nil
	}
	const hint = "--cloud-set persistence.storageClass=NAME names one that kubectl get storageclass lists; with --cloud-set persistence.enabled=false " +
		"the cloud keeps nothing when its pod is replaced"
	if class != "" {
		return refuse(hint, "nothing provides the cloud's volume: there is no storage class %q", class)
	}
	return refuse(hint, "nothing provides the cloud's volume: no storage class is the cluster's default")
}

// provided says that a class is there or, for "", that one is the default.
func provided(class string, classes []storagev1.StorageClass) bool {
	return slices.ContainsFunc(classes, func(c storagev1.StorageClass) bool {
		return c.Name == class || class == "" && c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true"
	})
}

func className(claim corev1.PersistentVolumeClaim) string {
	if claim.Spec.StorageClassName == nil {
		return ""
	}
	return *claim.Spec.StorageClassName
}

// volume plans what is to be done for the volume of the cloud in manifests, and says what is
// in the way. What the user may not read is left to the API server.
func volume(ctx context.Context, c kubernetes.Interface, manifests string) (growth, error) {
	want, err := wantedSet(manifests)
	if err != nil || want == nil {
		return growth{}, err
	}
	if err := missingStorage(ctx, c, want); err != nil && !apierrors.IsForbidden(err) {
		return growth{}, err
	}
	return growthTo(ctx, c, want)
}

func sizeOf(claim corev1.PersistentVolumeClaim) resource.Quantity {
	return claim.Spec.Resources.Requests[corev1.ResourceStorage]
}

// presentSize is what the cloud asks for or, where there is none, what one has left; "" for no
// volume. An upgrade that failed may have changed it, and forgotten its own values.
func presentSize(ctx context.Context, c kubernetes.Interface, namespace string) (string, error) {
	set, err := cloudSet(ctx, c, namespace)
	if err != nil || set != nil && len(set.Spec.VolumeClaimTemplates) == 0 {
		return "", err
	}
	if set != nil {
		size := sizeOf(set.Spec.VolumeClaimTemplates[0])
		return size.String(), nil
	}
	claim, err := cloudClaim(ctx, c, namespace)
	if err != nil || claim == nil {
		return "", err
	}
	size := sizeOf(*claim)
	return size.String(), nil
}

// growth is what has to be done to the cloud's volume before the release is applied: an API
// server takes no other volume for a StatefulSet that is there.
type growth struct {
	namespace string
	// to is the claim's new size, nil where it keeps its own.
	to *resource.Quantity
	// replace says that the StatefulSet has to be made anew, which leaves its pod alone.
	replace bool
}

// growthTo plans it. What a volume cannot do is a *RefusedError.
func growthTo(ctx context.Context, c kubernetes.Interface, want *appsv1.StatefulSet) (growth, error) {
	is, err := cloudSet(ctx, c, want.Namespace)
	if err != nil {
		return growth{}, err
	}
	claim, err := cloudClaim(ctx, c, want.Namespace)
	if err != nil {
		return growth{}, err
	}
	g, err := plan(want, is, claim)
	if err != nil || g.to == nil {
		return g, err
	}
	class, err := c.StorageV1().StorageClasses().Get(ctx, className(*claim), metav1.GetOptions{})
	if apierrors.IsForbidden(err) {
		return g, nil // the API server says so when the claim is changed, which comes first
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return g, fmt.Errorf("storage class %q: %w", className(*claim), err)
	}
	if err != nil || class.AllowVolumeExpansion == nil || !*class.AllowVolumeExpansion {
		return g, refuse("keep less instead: --cloud-set retention.age=…", "the cloud's volume cannot grow to %s: its storage class %q does not allow it (allowVolumeExpansion)", g.to, className(*claim))
	}
	return g, nil
}

// plan compares what is wanted with what is there; either of the latter may be nil.
func plan(want, is *appsv1.StatefulSet, claim *corev1.PersistentVolumeClaim) (growth, error) {
	g := growth{namespace: want.Namespace}
	wanted := want.Spec.VolumeClaimTemplates
	const hint = "leave it as it is, or start anew after speedctl uninstall --delete-data"
	if is != nil && len(is.Spec.VolumeClaimTemplates) != len(wanted) {
		return g, refuse(hint, "persistence.enabled cannot be changed while the cloud is installed")
	}
	if len(wanted) == 0 {
		return g, nil
	}
	size := sizeOf(wanted[0])
	if is != nil {
		has := is.Spec.VolumeClaimTemplates[0]
		if className(has) != className(wanted[0]) {
			return g, refuse(hint, "persistence.storageClass cannot be changed while the cloud is installed: it is %q", className(has))
		}
		if size.Equal(sizeOf(has)) {
			return g, nil // also where the claim has grown without speedctl
		}
		g.replace = true
	}
	if claim == nil {
		return g, nil
	}
	has := sizeOf(*claim)
	switch order := size.Cmp(has); {
	case order > 0:
		g.to = &size
	case order < 0 && is != nil:
		return g, refuse("give persistence.size at least that", "the cloud's volume has %s, and a volume cannot shrink to %s", &has, &size)
	}
	return g, nil
}

// do grows the volume. The pod goes on running, and the StatefulSet that Helm makes next
// takes it over.
func (g growth) do(ctx context.Context, c kubernetes.Interface, limit time.Duration) error {
	if g.to != nil {
		patch, err := json.Marshal(map[string]any{"spec": map[string]any{"resources": map[string]any{"requests": map[string]any{"storage": g.to}}}})
		if err != nil {
			return err
		}
		if _, err := c.CoreV1().PersistentVolumeClaims(g.namespace).Patch(ctx, claimName, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("persistentvolumeclaim %q in namespace %q: %w", claimName, g.namespace, err)
		}
	}
	if !g.replace {
		return nil
	}
	err := c.AppsV1().StatefulSets(g.namespace).Delete(ctx, Cloud, metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationOrphan)})
	if err == nil {
		err = wait.PollUntilContextTimeout(ctx, time.Second, limit, true, func(ctx context.Context) (bool, error) {
			set, err := cloudSet(ctx, c, g.namespace)
			return set == nil && err == nil, err
		})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("statefulset %q in namespace %q, which is made anew for its volume: %w", Cloud, g.namespace, err)
	}
	return nil
}

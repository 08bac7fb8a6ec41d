package workload

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/speedscale/speedscale/cluster/argo"
)

func fromRollout(r *argo.Rollout) *Workload {
	return &Workload{
		Ref: Ref{ArgoRollout, r.Namespace, r.Name}, Annotations: r.Annotations, Template: r.Spec.Template, Selector: r.Spec.Selector,
		Scale:  r.Replicas(),
		Counts: Counts{r.Seen(), r.Status.Replicas, r.Status.UpdatedReplicas, r.Status.ReadyReplicas},
		Held:   r.Held(), Failing: r.Failing(), Elsewhere: r.Spec.WorkloadRef,
	}
}

func parseRollout(u *unstructured.Unstructured) (*Workload, error) {
	r, err := argo.Parse(u)
	return convert(r, err, fromRollout)
}

// rollout asks for Rollouts. The API server knows no typed client of ours for them, and
// that of another group can be asked anything.
func rollout(request *rest.Request, namespace string) *rest.Request {
	return request.AbsPath("/apis", argo.Group, argo.Version).
		NamespaceIfScoped(namespace, namespace != metav1.NamespaceAll).Resource(argo.Resource).
		SetHeader("Accept", "application/json")
}

func answer(ctx context.Context, request *rest.Request, into any) error {
	result := request.Do(ctx)
	if err := result.Error(); err != nil {
		return err
	}
	text, err := result.Raw()
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func getRollout(ctx context.Context, c kubernetes.Interface, r Ref) (*Workload, error) {
	found := &argo.Rollout{}
	err := answer(ctx, rollout(c.CoreV1().RESTClient().Get(), r.Namespace).Name(r.Name), found)
	return convert(found, notFound(ctx, c, err), fromRollout)
}

// listRollouts returns none where the cluster has no such kind.
func listRollouts(ctx context.Context, c kubernetes.Interface, namespace string) ([]*Workload, error) {
	if err := needsRollouts(ctx, c); err != nil {
		if apierrors.IsNotFound(err) {
			err = nil
		}
		return nil, err
	}
	var list struct {
		Items []argo.Rollout `json:"items"`
	}
	if err := answer(ctx, rollout(c.CoreV1().RESTClient().Get(), namespace), &list); err != nil {
		return nil, err
	}
	var found []*Workload
	for i := range list.Items {
		found = append(found, fromRollout(&list.Items[i]))
	}
	return found, nil
}

func patchRollout(ctx context.Context, c kubernetes.Interface, r Ref, patch []byte, o metav1.PatchOptions) error {
	request := rollout(c.CoreV1().RESTClient().Patch(types.MergePatchType), r.Namespace).Name(r.Name)
	return notFound(ctx, c, request.VersionedParams(&o, metav1.ParameterCodec).Body(patch).Do(ctx).Error())
}

// notFound says it better where it is not the one Rollout that is not there.
func notFound(ctx context.Context, c kubernetes.Interface, err error) error {
	if apierrors.IsNotFound(err) {
		return cmp.Or(needsRollouts(ctx, c), err)
	}
	return err
}

// needsRollouts returns a NotFound error where the cluster has no Rollouts: their
// definition may be installed, and deleted, at any time.
func needsRollouts(ctx context.Context, c kubernetes.Interface) error {
	list, err := discovery.ToServerResourcesInterfaceWithContext(c.Discovery()).ServerResourcesForGroupVersionWithContext(ctx, argo.APIVersion)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("resources of %s: %w", argo.APIVersion, err)
	}
	if err == nil && slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == argo.Resource }) {
		return nil
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: 404, Reason: metav1.StatusReasonNotFound,
		Message: "the cluster has no Argo Rollouts (" + argo.Resource + "." + argo.Group + ")",
	}}
}

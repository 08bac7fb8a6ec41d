// Package replay makes TrafficReplays of what a person asks for, starts and follows
// them, and ends them.
package replay

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	v1 "github.com/speedscale/speedscale/cluster/api/v1"
)

// Resource is how the API server calls TrafficReplays.
func Resource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: v1.Group, Version: v1.Version, Resource: "trafficreplays"}
}

// Client reads and writes TrafficReplays. Its errors name the replay.
type Client struct{ Dynamic dynamic.Interface }

func (c Client) in(namespace string) dynamic.ResourceInterface {
	return c.Dynamic.Resource(Resource()).Namespace(namespace)
}

// Create starts a replay, and returns it as the API server completed it.
func (c Client) Create(ctx context.Context, r *v1.TrafficReplay) (*v1.TrafficReplay, error) {
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(r)
	if err != nil {
		return nil, err
	}
	delete(object, "status")
	made, err := c.in(r.Namespace).Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{FieldManager: "speedctl"})
	if err != nil {
		return nil, fmt.Errorf("trafficreplay %s/%s: %w", r.Namespace, r.Name+r.GenerateName, explain(err))
	}
	return decode(made)
}

// Get returns a replay.
func (c Client) Get(ctx context.Context, namespace, name string) (*v1.TrafficReplay, error) {
	u, err := c.in(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("trafficreplay %s/%s: %w", namespace, name, explain(err))
	}
	return decode(u)
}

// List returns the replays of a namespace, "" for all of them.
func (c Client) List(ctx context.Context, namespace string) ([]v1.TrafficReplay, error) {
	list, err := c.in(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("trafficreplays: %w", explain(err))
	}
	found := make([]v1.TrafficReplay, 0, len(list.Items))
	for i := range list.Items {
		r, err := decode(&list.Items[i])
		if err != nil {
			return nil, err
		}
		found = append(found, *r)
	}
	return found, nil
}

// Delete has a replay deleted. It is gone when its workloads are as they were, which
// WaitGone waits for.
func (c Client) Delete(ctx context.Context, namespace, name string) error {
	if err := c.in(namespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("trafficreplay %s/%s: %w", namespace, name, explain(err))
	}
	return nil
}

func decode(u *unstructured.Unstructured) (*v1.TrafficReplay, error) {
	r := &v1.TrafficReplay{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, r); err != nil {
		return nil, fmt.Errorf("trafficreplay %s/%s: %w", u.GetNamespace(), u.GetName(), err)
	}
	return r, nil
}

// ErrNotDefined says that the API server does not know TrafficReplays.
var ErrNotDefined = errors.New("the definition of TrafficReplay is not installed in the cluster")

// explain says what it means that the API server does not know TrafficReplays.
func explain(err error) error {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if ok && apierrors.IsNotFound(err) && (status.ErrStatus.Details == nil || status.ErrStatus.Details.Name == "") {
		return fmt.Errorf("%w (%w)", ErrNotDefined, err)
	}
	return err
}

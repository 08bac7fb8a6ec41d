package inspector

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/workload"
)

// Workload is what ListWorkloads returns a list of.
type Workload struct {
	Namespace string `json:"namespace"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	// Wanted pods, of which Ready are; a CronJob has none by itself.
	Wanted int32 `json:"wanted"`
	Ready  int32 `json:"ready"`
	// Inject says that its annotations ask for a sidecar, Injected how many of its
	// Pods have one.
	Inject   bool `json:"inject"`
	Pods     int  `json:"pods"`
	Injected int  `json:"injected"`
	// Refused is why there is no sidecar.
	Refused string `json:"refused,omitempty"`
}

// page is how many objects are asked for at a time.
const page = 500

func (i *Inspector) workloads(ctx context.Context, c *cloudv1.ListWorkloads) ([]byte, error) {
	list := []Workload{}
	for _, namespace := range i.namespaces(c.GetNamespace()) {
		found, err := workload.List(ctx, i.o.Kube, namespace)
		if err != nil {
			return nil, err
		}
		pods, err := i.podsOf(ctx, namespace)
		if err != nil {
			return nil, err
		}
		for _, w := range found {
			list = append(list, i.describe(w, pods[w.Namespace]))
		}
	}
	return json.Marshal(list)
}

// podsOf returns what the metadata of pods says, by namespace.
func (i *Inspector) podsOf(ctx context.Context, namespace string) (map[string][]metav1.PartialObjectMetadata, error) {
	pods := map[string][]metav1.PartialObjectMetadata{}
	client := i.o.Metadata.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace(namespace)
	for o := (metav1.ListOptions{Limit: page}); ; {
		list, err := client.List(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("pods: %w", err)
		}
		for _, p := range list.Items {
			if p.DeletionTimestamp == nil {
				pods[p.Namespace] = append(pods[p.Namespace], p)
			}
		}
		if o.Continue = list.Continue; o.Continue == "" {
			return pods, nil
		}
	}
}

func (i *Inspector) describe(w *workload.Workload, pods []metav1.PartialObjectMetadata) Workload {
	d := Workload{
		Namespace: w.Namespace, Kind: w.Kind, Name: w.Name, Wanted: w.Scale, Ready: w.Counts.Ready,
		Refused: w.Annotations[annotation.Refused],
	}
	if settings, err := annotation.Parse(w.Annotations); err == nil {
		d.Inject = settings.Inject
	} else if d.Refused == "" {
		d.Refused = err.Error()
	}
	selector, err := metav1.LabelSelectorAsSelector(w.Selector) // of nil it is one that selects nothing
	if err != nil {
		return d
	}
	for _, p := range pods {
		if !selector.Matches(labels.Set(p.Labels)) {
			continue
		}
		d.Pods++
		if p.Labels[annotation.Injected] == "true" {
			d.Injected++
		} else if d.Refused == "" {
			d.Refused = p.Annotations[annotation.Refused]
		}
	}
	return d
}

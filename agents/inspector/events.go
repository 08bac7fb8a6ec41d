package inspector

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
)

// Event is what ListEvents returns a list of, newest first.
type Event struct {
	Time      time.Time `json:"time"`
	Namespace string    `json:"namespace"`
	Type      string    `json:"type"`
	Reason    string    `json:"reason"`
	// Object is kind/name.
	Object  string `json:"object"`
	Message string `json:"message"`
	Count   int32  `json:"count"`
}

const (
	defaultEvents = 100
	maxEvents     = 1000
)

func (i *Inspector) events(ctx context.Context, c *cloudv1.ListEvents) ([]byte, error) {
	limit := int(cmp.Or(c.GetLimit(), defaultEvents))
	if limit < 0 || limit > maxEvents {
		return nil, fmt.Errorf("limit %d: want 1 to %d events", limit, maxEvents)
	}
	newest := []Event{}
	for _, namespace := range i.namespaces(c.GetNamespace()) {
		for o := (metav1.ListOptions{Limit: page}); ; {
			list, err := i.o.Kube.CoreV1().Events(namespace).List(ctx, o)
			if err != nil {
				return nil, fmt.Errorf("events: %w", err)
			}
			for n := range list.Items {
				newest = append(newest, i.event(&list.Items[n]))
			}
			slices.SortStableFunc(newest, func(a, b Event) int { return b.Time.Compare(a.Time) })
			newest = newest[:min(len(newest), limit)]
			if o.Continue = list.Continue; o.Continue == "" {
				break
			}
		}
	}
	return json.Marshal(newest)
}

func (i *Inspector) event(e *corev1.Event) Event {
	at, count := e.CreationTimestamp.Time, e.Count
	for _, t := range []time.Time{e.LastTimestamp.Time, e.EventTime.Time} {
		if t.After(at) {
			at = t
		}
	}
	if s := e.Series; s != nil {
		at, count = s.LastObservedTime.Time, s.Count
	}
	return Event{
		Time: at.UTC(), Namespace: e.Namespace, Type: e.Type, Reason: e.Reason,
		Object: e.InvolvedObject.Kind + "/" + e.InvolvedObject.Name, Message: i.o.Masker.Text(e.Message), Count: max(count, 1),
	}
}

package collector

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
)

// usageKey is a container of a pod.
type usageKey struct{ namespace, pod, container string }

// measure asks for CPU and memory by metrics.k8s.io, which measures less often than
// it is asked: what it said before is not said again.
func (c *Collector) measure(ctx context.Context, namespace string) {
	limited, cancel := context.WithTimeout(ctx, c.o.Interval)
	defer cancel()
	list, err := c.o.Metrics.MetricsV1beta1().PodMetricses(namespace).List(limited, metav1.ListOptions{LabelSelector: c.o.Selector})
	if err != nil {
		if ctx.Err() == nil {
			c.noteOnce(normal, "UsageNotCollected", "Namespace/"+namespace,
				fmt.Sprintf("CPU and memory are not measured, since metrics.k8s.io (metrics-server) does not answer: %v", err))
		}
		return
	}
	for _, p := range list.Items {
		for _, use := range p.Containers {
			if !c.newer(usageKey{p.Namespace, p.Name, use.Name}, p.Timestamp.Time) {
				continue
			}
			c.counts.usage.Add(1)
			c.o.Publish(&cloudv1.ReplayEvent{Time: p.Timestamp.UnixNano(), Event: &cloudv1.ReplayEvent_Usage{Usage: &cloudv1.PodUsage{
				Pod: p.Name, Container: use.Name,
				CpuMillicores: use.Usage.Cpu().MilliValue(), MemoryBytes: use.Usage.Memory().Value(),
			}}})
		}
	}
}

func (c *Collector) newer(key usageKey, at time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	bound(c.usage)
	if !at.After(c.usage[key]) {
		return false
	}
	c.usage[key] = at
	return true
}

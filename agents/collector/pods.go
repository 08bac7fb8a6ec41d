package collector

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/speedscale/speedscale/cluster/inject"
)

// watch follows the pods of a namespace, and once it knows them the events about
// them, until ctx ends.
func (c *Collector) watch(ctx context.Context, namespace string) {
	pods := coreinformers.NewFilteredPodInformer(c.o.Kube, namespace, 0, cache.Indexers{},
		func(o *metav1.ListOptions) { o.LabelSelector = c.o.Selector })
	c.start(ctx, pods, "pods of namespace "+namespace, cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { c.podChanged(ctx, o) },
		UpdateFunc: func(_, o any) { c.podChanged(ctx, o) },
		DeleteFunc: c.podGone,
	})
	wait, cancel := context.WithTimeout(ctx, syncLimit)
	cache.WaitForCacheSync(wait.Done(), pods.HasSynced)
	cancel()
	events := coreinformers.NewEventInformer(c.o.Kube, namespace, 0, cache.Indexers{})
	c.start(ctx, events, "events of namespace "+namespace, cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { c.eventChanged(o) },
		UpdateFunc: func(_, o any) { c.eventChanged(o) },
	})
	<-ctx.Done()
}

// start runs an informer until ctx ends. What it cannot list is said once.
func (c *Collector) start(ctx context.Context, informer cache.SharedIndexInformer, what string, handler cache.ResourceEventHandler) {
	strip := func(o any) (any, error) {
		if m, ok := o.(metav1.Object); ok {
			m.SetManagedFields(nil) // half of an object's size
		}
		return o, nil
	}
	failed := func(_ context.Context, _ *cache.Reflector, err error) {
		c.noteOnce(warning, "NotCollected", what, fmt.Sprintf("%s cannot be watched: %v", what, err))
	}
	// These fail for an informer that runs already only.
	if err := informer.SetTransform(strip); err != nil {
		c.log.Warn("informer", "of", what, "error", err)
	}
	if err := informer.SetWatchErrorHandlerWithContext(failed); err != nil {
		c.log.Warn("informer", "of", what, "error", err)
	}
	if _, err := informer.AddEventHandler(handler); err != nil {
		c.log.Warn("informer", "of", what, "error", err)
	}
	c.running.Go(func() { informer.RunWithContext(ctx) })
}

// podChanged follows the containers that run or have ended since we started.
func (c *Collector) podChanged(ctx context.Context, object any) {
	p, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	c.mu.Lock()
	bound(c.pods)
	c.pods[p.UID] = &pod{namespace: p.Namespace, name: p.Name, owners: owners(p)}
	c.mu.Unlock()
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if ours(s.Name) && !c.o.Sidecar {
			continue
		}
		c.settle(ctx, p, s)
		if last := s.LastTerminationState.Terminated; last != nil && c.recent(last.FinishedAt.Time) {
			c.follow(ctx, source{p, s.Name, last.ContainerID}, previous, false)
		}
		switch {
		case s.State.Running != nil:
			c.follow(ctx, source{p, s.Name, s.ContainerID}, current, true)
		case s.State.Terminated != nil && c.recent(s.State.Terminated.FinishedAt.Time):
			c.follow(ctx, source{p, s.Name, s.ContainerID}, current, false)
		}
	}
}

// recent says that something was not before Options.Since; the API has whole seconds.
func (c *Collector) recent(at time.Time) bool { return !at.Before(c.o.Since.Truncate(time.Second)) }

// ours says that a container is one that injection adds.
func ours(container string) bool {
	return container == inject.Goproxy || container == inject.Initproxy || container == inject.InitCA
}

func (c *Collector) podGone(object any) {
	if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = unknown.Obj
	}
	p, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// The pod stays known: events about its end come after it.
	for _, s := range c.streams {
		if s.pod.UID == p.UID {
			s.running.Store(false)
			s.gone.Store(true)
		}
	}
}

// Package collector gathers what the pods of a workload say and use while a replay
// runs: their logs, the cluster's events about them, and their CPU and memory. What
// it cannot get it says once and does without, so it never stands in a replay's way.
package collector

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	metrics "k8s.io/metrics/pkg/client/clientset/versioned"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/traffic/mask"
)

// Options are what a Collector is made with.
type Options struct {
	Kube    kubernetes.Interface
	Metrics metrics.Interface
	// Namespaces and Selector say which pods, but for those of the replay itself,
	// which have the label annotation.ReplayComponent. No namespaces are none.
	Namespaces []string
	Selector   string
	// Sidecar follows the logs of our own containers in those pods too.
	Sidecar bool
	// Masker masks lines and messages before they go anywhere. It is required.
	Masker *mask.Masker
	// Publish takes events, and must not block. Calls are concurrent.
	Publish func(*cloudv1.ReplayEvent)
	// Since is from when on; zero means from now on.
	Since time.Time
	// Rate is how many lines a second are kept of a container, after a burst of 5
	// seconds' worth; 0 means DefaultRate.
	Rate int
	// Interval is how often usage is asked for and drops are stated; 0 means
	// DefaultInterval.
	Interval time.Duration
	Logger   *slog.Logger
}

// What applies where Options says nothing.
const (
	DefaultRate     = 200
	DefaultInterval = 5 * time.Second
)

// Limits on what is kept.
const (
	// maxLine is the longest line, in bytes; what follows is left out.
	maxLine = 8 << 10
	// maxStreams is how many containers are followed at a time.
	maxStreams = 200
	// maxMessage bounds the message of an event, in bytes.
	maxMessage = 4 << 10
	// maxKnown bounds what is remembered of pods, events and measurements, each.
	maxKnown = 4096
	// syncLimit bounds the wait for the first list of pods.
	syncLimit = 30 * time.Second
)

// Collector works while Run does. Its methods are safe for concurrent use.
type Collector struct {
	o       Options
	log     *slog.Logger
	counts  counts
	running sync.WaitGroup

	mu      sync.Mutex
	pods    map[types.UID]*pod
	streams map[string]*stream // by container id
	said    map[string]bool    // what is said once
	seen    map[types.UID]int32
	usage   map[usageKey]time.Time
}

// pod is what has to be known of one to tell what is about it.
type pod struct {
	namespace, name string
	owners          []owner
}

// New returns a collector.
func New(o Options) *Collector {
	if o.Rate == 0 {
		o.Rate = DefaultRate
	}
	if o.Interval == 0 {
		o.Interval = DefaultInterval
	}
	o.Selector = strings.Trim(o.Selector+",!"+annotation.ReplayComponent, ",")
	if o.Since.IsZero() {
		o.Since = time.Now()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Collector{
		o: o, log: o.Logger,
		pods: map[types.UID]*pod{}, streams: map[string]*stream{}, said: map[string]bool{},
		seen: map[types.UID]int32{}, usage: map[usageKey]time.Time{},
	}
}

// Run collects until ctx ends.
func (c *Collector) Run(ctx context.Context) {
	for _, namespace := range c.o.Namespaces {
		c.running.Go(func() { c.watch(ctx, namespace) })
	}
	c.running.Go(func() {
		for tick := time.NewTicker(c.o.Interval); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				c.stateDrops()
				for _, namespace := range c.o.Namespaces {
					c.measure(ctx, namespace)
				}
			}
		}
	})
	<-ctx.Done()
	c.running.Wait()
	c.stateDrops()
}

// note publishes an event of the collector's own.
func (c *Collector) note(kind, reason, object, message string) {
	c.log.Info("noted", "type", kind, "reason", reason, "object", object, "message", message)
	c.clusterEvent(time.Now(), &cloudv1.ClusterEvent{Type: kind, Reason: reason, Object: object, Message: message, Count: 1})
}

// noteOnce is note for what would be said again and again.
func (c *Collector) noteOnce(kind, reason, object, message string) {
	c.mu.Lock()
	key := reason + " " + object
	bound(c.said)
	again := c.said[key]
	c.said[key] = true
	c.mu.Unlock()
	if !again {
		c.note(kind, reason, object, message)
	}
}

func (c *Collector) clusterEvent(at time.Time, e *cloudv1.ClusterEvent) {
	e.Message = clip(c.o.Masker.Text(clean(e.Message)), maxMessage)
	c.counts.events.Add(1)
	c.o.Publish(&cloudv1.ReplayEvent{Time: at.UnixNano(), Event: &cloudv1.ReplayEvent_ClusterEvent{ClusterEvent: e}})
}

// Kinds of events, as Kubernetes has them.
const (
	normal  = corev1.EventTypeNormal
	warning = corev1.EventTypeWarning
)

// bound empties a memory that has grown too large: what is forgotten is said again
// at worst.
func bound[K comparable, V any](m map[K]V) {
	if len(m) >= maxKnown {
		clear(m)
	}
}

package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/speedscale/speedscale/traffic/signature"
)

// Bounds of what is kept of a cluster.
const (
	maxUsage         = 100
	maxUsageSamples  = 240
	maxClusterEvents = 200
)

// Usage is what a container used while the replay ran.
type Usage struct {
	Pod       string `json:"pod"`
	Container string `json:"container"`
	// CPU is in thousandths of a core, Memory in bytes.
	CPU    Gauge `json:"cpuMillicores"`
	Memory Gauge `json:"memoryBytes"`
	// Count is how many samples there were. Samples are those that are kept, by
	// time: where there were more, the one that follows another soonest goes.
	Count   int64         `json:"count"`
	Samples []UsageSample `json:"samples,omitempty"`
}

// UsageSample is one measurement, in the units of Usage.
type UsageSample struct {
	Time   time.Time `json:"time"`
	CPU    int64     `json:"cpuMillicores"`
	Memory int64     `json:"memoryBytes"`
}

// Gauge sums up measurements.
type Gauge struct {
	Min int64 `json:"min"`
	Avg int64 `json:"avg"`
	Max int64 `json:"max"`
	// Sum is of all measurements.
	Sum int64 `json:"sum"`
}

// ClusterEvent is an event of Kubernetes about the workload.
type ClusterEvent struct {
	// Type is Normal or Warning.
	Type   string `json:"type"`
	Reason string `json:"reason"`
	// Object is kind/name.
	Object  string `json:"object"`
	Message string `json:"message"`
	// Count is how often it happened, Time when it did last.
	Count int32     `json:"count"`
	Time  time.Time `json:"time"`
}

// AddUsage adds a measurement of a container.
func (b *Builder) AddUsage(pod, container string, s UsageSample) {
	one := func(v int64) Gauge { return Gauge{Min: v, Max: v, Sum: v} }
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mergeUsage(&Usage{Pod: pod, Container: container, CPU: one(s.CPU), Memory: one(s.Memory), Count: 1, Samples: []UsageSample{s}})
}

// AddClusterEvent adds an event, or a later state of one: an event that differs
// in its count and time only takes the place of the one that was added before.
func (b *Builder) AddClusterEvent(e ClusterEvent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addClusterEvent(e)
}

func (b *Builder) mergeUsage(from *Usage) {
	if from.Count <= 0 {
		return
	}
	list := b.part.Usage
	i := slices.IndexFunc(list, func(u *Usage) bool { return u.Pod == from.Pod && u.Container == from.Container })
	if i < 0 {
		if len(list) >= maxUsage {
			b.warn("CPU and memory are shown of the first 100 containers only")
			return
		}
		i = len(list)
		b.part.Usage = append(list, &Usage{
			Pod: from.Pod, Container: from.Container,
			CPU: Gauge{Min: from.CPU.Min, Max: from.CPU.Max}, Memory: Gauge{Min: from.Memory.Min, Max: from.Memory.Max},
		})
	}
	u := b.part.Usage[i]
	u.Count += from.Count
	u.CPU.add(from.CPU, u.Count)
	u.Memory.add(from.Memory, u.Count)
	for _, s := range from.Samples {
		u.keep(s)
	}
}

// add merges gauges, which then are of count measurements.
func (g *Gauge) add(from Gauge, count int64) {
	g.Min, g.Max = min(g.Min, from.Min), max(g.Max, from.Max)
	g.Sum += from.Sum
	g.Avg = g.Sum / count
}

// keep puts a sample in its place, and drops one where there are too many.
func (u *Usage) keep(s UsageSample) {
	s.Time = s.Time.UTC()
	at, _ := slices.BinarySearchFunc(u.Samples, s, func(a, b UsageSample) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.CPU, b.CPU), cmp.Compare(a.Memory, b.Memory))
	})
	u.Samples = slices.Insert(u.Samples, at, s)
	if len(u.Samples) <= maxUsageSamples {
		return
	}
	soonest := 1
	for i := range u.Samples[1:] {
		gap := func(i int) time.Duration { return u.Samples[i].Time.Sub(u.Samples[i-1].Time) }
		if gap(i+1) < gap(soonest) {
			soonest = i + 1
		}
	}
	u.Samples = slices.Delete(u.Samples, soonest, soonest+1)
}

func (u *Usage) clone() *Usage {
	c := *u
	c.Samples = slices.Clone(u.Samples)
	return &c
}

func (b *Builder) addClusterEvent(e ClusterEvent) {
	e.Time = e.Time.UTC()
	e.Reason, e.Object, e.Message = signature.Printable(e.Reason), signature.Printable(e.Object), signature.Printable(e.Message)
	list := b.part.ClusterEvents
	i := slices.IndexFunc(list, func(old ClusterEvent) bool {
		return old.Type == e.Type && old.Reason == e.Reason && old.Object == e.Object && old.Message == e.Message
	})
	switch {
	case i < 0 && len(list) >= maxClusterEvents:
		b.warn("the first 200 different events of the cluster are shown only")
	case i < 0:
		b.part.ClusterEvents = append(list, e)
	case e.Count > list[i].Count || e.Time.After(list[i].Time):
		list[i].Count, list[i].Time = max(e.Count, list[i].Count), e.Time
	}
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f", float64(n)/(1<<20)) }

func byEventTime(a, b ClusterEvent) int {
	return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message))
}

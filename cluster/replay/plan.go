package replay

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/workload"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// Options say what is replayed.
type Options struct {
	// Name is the replay's; "" has the API server make one of the first workload's.
	Name string
	// Namespace is the replay's and its workloads'.
	Namespace string
	// Workloads are what requests are sent to and what has its dependencies mocked.
	Workloads []workload.Ref
	// Tests and Mocks are keys of the snapshot's traffic, or parts of one, or "*".
	// Empty chooses those that were recorded from a workload of the same name, and
	// all where there is one workload and none has its name.
	Tests, Mocks []string
	// NoMocks leaves all dependencies real.
	NoMocks bool
	// Mode, Cleanup, TestConfig and BuildTag are as in the TrafficReplay.
	Mode       v1.Mode
	Cleanup    v1.Cleanup
	TestConfig string
	BuildTag   string
	// SecretRefs are Secrets of the namespace that transforms read.
	SecretRefs []string
	// Timeout ends the replay; 0 is the operator's own limit.
	Timeout time.Duration
	// TTL has the replay deleted so long after its end; 0 keeps it.
	TTL time.Duration
}

// Target is what a replay does to one workload.
type Target struct {
	workload.Ref
	// Tests and Mocks are keys of the snapshot, in order.
	Tests, Mocks []string
	// Requests is how many were recorded under Tests.
	Requests int64
}

// What the definition of TrafficReplay allows.
const (
	maxTests = 32
	maxMocks = 128
)

// Plan chooses what of a snapshot is replayed against the workloads. Its error names
// the key or workload that is wrong.
func Plan(meta *snapshot.Meta, o Options) (*v1.TrafficReplay, []Target, error) {
	if err := o.check(); err != nil {
		return nil, nil, err
	}
	r := &v1.TrafficReplay{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1.Group + "/" + v1.Version, Kind: "TrafficReplay"},
		ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name},
		Spec: v1.TrafficReplaySpec{
			SnapshotID: meta.ID, TestConfigID: o.TestConfig, Mode: o.Mode, Cleanup: o.Cleanup, BuildTag: o.BuildTag,
			Timeout: duration(o.Timeout), TTLAfterReady: duration(o.TTL),
		},
	}
	if o.Name == "" {
		r.GenerateName = o.Workloads[0].Name[:min(len(o.Workloads[0].Name), 40)] + "-"
	}
	for _, name := range o.SecretRefs {
		r.Spec.SecretRefs = append(r.Spec.SecretRefs, v1.SecretRef{Name: name})
	}
	var targets []Target
	for _, w := range o.Workloads {
		t, err := o.target(meta, w)
		if err != nil {
			return nil, nil, err
		}
		targets = append(targets, t)
		r.Spec.Workloads = append(r.Spec.Workloads, v1.Workload{
			Ref:   &v1.WorkloadRef{Kind: w.Kind, Name: w.Name},
			Tests: short(t.Tests, meta.InTraffic, len(o.Workloads)), Mocks: short(t.Mocks, meta.OutTraffic, 1),
		})
	}
	return r, targets, distinct(targets)
}

func (o Options) check() error {
	switch {
	case len(o.Workloads) == 0:
		return errors.New("no workload is given")
	case o.Mode != v1.ModeFullReplay && o.Mode != v1.ModeResponderOnly && o.Mode != v1.ModeGeneratorOnly:
		return fmt.Errorf("mode %q: want %s, %s or %s", o.Mode, v1.ModeFullReplay, v1.ModeResponderOnly, v1.ModeGeneratorOnly)
	case o.Cleanup != v1.CleanupInventory && o.Cleanup != v1.CleanupAll && o.Cleanup != v1.CleanupNone:
		return fmt.Errorf("cleanup %q: want %s, %s or %s", o.Cleanup, v1.CleanupInventory, v1.CleanupAll, v1.CleanupNone)
	case o.NoMocks && len(o.Mocks) > 0:
		return errors.New("mocks are named, and none are wanted")
	case o.Mode == v1.ModeGeneratorOnly && len(o.Mocks) > 0:
		return fmt.Errorf("mocks are named, and mode %s has none", o.Mode)
	case o.Mode == v1.ModeResponderOnly && (o.NoMocks || len(o.Tests) > 0):
		return fmt.Errorf("mode %s mocks, and sends no requests", o.Mode)
	case o.Timeout < 0 || o.TTL < 0:
		return errors.New("a duration is below 0")
	}
	return nil
}

func (o Options) target(meta *snapshot.Meta, w workload.Ref) (t Target, err error) {
	t.Ref = w
	if o.Mode != v1.ModeResponderOnly {
		if t.Tests, err = o.choose(meta.InTraffic, o.Tests, w); err != nil {
			return t, fmt.Errorf("tests: %w", err)
		}
		if len(t.Tests) == 0 {
			return t, fmt.Errorf("the snapshot %q has no inbound traffic for %s: it has that of %s", meta.Info.Name, w, services(meta.InTraffic))
		}
		if len(t.Tests) > maxTests {
			return t, fmt.Errorf("the snapshot has inbound traffic of %d keys for %s, want at most %d: choose some", len(t.Tests), w, maxTests)
		}
	}
	for _, key := range t.Tests {
		t.Requests += meta.InTraffic[key].NumRequests
	}
	if o.Mode != v1.ModeGeneratorOnly && !o.NoMocks {
		if t.Mocks, err = o.choose(meta.OutTraffic, o.Mocks, w); err != nil {
			return t, fmt.Errorf("mocks: %w", err)
		}
	}
	if o.Mode == v1.ModeResponderOnly && len(t.Mocks) == 0 {
		return t, fmt.Errorf("the snapshot %q has no outbound traffic of %s, so there is nothing to mock", meta.Info.Name, w)
	}
	return t, nil
}

// choose returns the keys that patterns mean or, without any, those of a workload.
func (o Options) choose(traffic map[string]*snapshot.Slice, patterns []string, w workload.Ref) ([]string, error) {
	keys := slices.Sorted(maps.Keys(traffic))
	own := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return traffic[k].Name != w.Name })
	if len(patterns) == 0 {
		if len(own) == 0 && len(o.Workloads) == 1 {
			return keys, nil
		}
		return own, nil
	}
	var chosen []string
	for _, p := range patterns {
		found, err := snapshot.Match(keys, p)
		if err != nil {
			return nil, err
		}
		for _, key := range found {
			// With several workloads a key goes to the one that it was recorded from.
			if len(o.Workloads) == 1 || traffic[key].Name == w.Name {
				chosen = append(chosen, key)
			}
		}
	}
	slices.Sort(chosen)
	return slices.Compact(chosen), nil
}

// short is "*" for all keys, where that is as good or there are too many to name.
func short(keys []string, traffic map[string]*snapshot.Slice, workloads int) []string {
	if len(keys) == len(traffic) && len(keys) > 0 && (workloads == 1 || len(keys) > maxMocks) {
		return []string{"*"}
	}
	return keys
}

// distinct wants each inbound key to be sent to one workload.
func distinct(targets []Target) error {
	owner := map[string]workload.Ref{}
	for _, t := range targets {
		if len(t.Mocks) > maxMocks {
			return fmt.Errorf("%s would have %d dependencies mocked, want at most %d: choose some", t.Ref, len(t.Mocks), maxMocks)
		}
		for _, key := range t.Tests {
			if was, ok := owner[key]; ok {
				return fmt.Errorf("inbound traffic %q would be sent to %s and to %s", key, was, t.Ref)
			}
			owner[key] = t.Ref
		}
	}
	return nil
}

func services(traffic map[string]*snapshot.Slice) string {
	var names []string
	for _, s := range traffic {
		names = append(names, s.Name)
	}
	if len(names) == 0 {
		return "no service"
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

func duration(d time.Duration) *metav1.Duration {
	if d == 0 {
		return nil
	}
	return &metav1.Duration{Duration: d}
}

package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/duration"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/quiet"
	"github.com/speedscale/speedscale/traffic"
)

const (
	// stuckAfter is how long the cloud may acknowledge nothing while something waits.
	stuckAfter = 5 * time.Minute
	// almostFull is the part of the spool, in percent, from which on it is worth a word.
	almostFull = 80
	// maxNamed bounds the workloads that are named for one thing.
	maxNamed = 10
)

// Cluster is what the forwarder's Deployment says of the cluster and of what may leave it.
type Cluster struct {
	// Name is the cluster's.
	Name string
	// Knows says that the forwarder is of a version that has telemetry, and Told that it
	// tells the cloud.
	Knows, Told bool
}

// ClusterOf reads the environment of the forwarder.
func ClusterOf(forwarder *appsv1.Deployment) (c Cluster) {
	if forwarder == nil {
		return c
	}
	for _, container := range forwarder.Spec.Template.Spec.Containers {
		set := map[string]string{}
		for _, v := range container.Env {
			set[v.Name] = v.Value
		}
		interval, err := time.ParseDuration(set["TELEMETRY_INTERVAL"])
		c = Cluster{Name: set["CLUSTER_NAME"], Knows: err == nil, Told: interval > 0 && set["WITH_TELEMETRY"] != "false"}
	}
	return c
}

// Telemetry is what the cloud has heard of the agents of a cluster.
type Telemetry struct {
	Err error
	// Latest is nil where it has heard nothing, and Age how old it is otherwise.
	Latest *cloudv1.ClusterTelemetry
	Age    time.Duration
}

// telemetry judges what the agents say of themselves.
func telemetry(f *Facts) []Result {
	r := Result{Category: "telemetry", Name: "heard"}
	c := ClusterOf(f.Forwarder.Object)
	logs := fmt.Sprintf("kubectl -n %s logs deployment/speedscale-forwarder says why", f.Namespace)
	switch {
	case f.Forwarder.Object == nil:
		return nil // which is said already
	case !c.Knows:
		return []Result{r.ok("the forwarder is of a version that has none")}
	case !c.Told:
		return []Result{r.ok("it is switched off, so that spool and sidecars are not looked at")}
	case f.Cloud == nil || f.Cloud.Err != nil:
		return []Result{r.skip("the cloud was not reached")}
	case f.Cloud.Telemetry.Err != nil:
		return []Result{r.skip("%v", f.Cloud.Telemetry.Err)}
	case f.Cloud.Telemetry.Latest == nil:
		return []Result{r.warn(logs+"; its API key needs the scope ingest", "the cloud has heard nothing of cluster %q for an hour", c.Name)}
	}
	t := f.Cloud.Telemetry.Latest
	age := f.Cloud.Telemetry.Age
	if interval := time.Duration(t.GetInterval()); age > 3*interval+30*time.Second {
		return []Result{r.warn(logs, "the cloud has heard of cluster %q %s ago, and should every %s", c.Name, human(age), interval)}
	}
	results := []Result{r.ok("forwarder %s and %d sidecars, %s ago", t.GetForwarder().GetVersion(), t.GetSidecarCount(), human(age)), spool(f, t.GetForwarder())}
	results = append(results, versions(t))
	results = append(results, drops(t.GetSidecars())...)
	return append(results, quietDirections(t.GetSidecars())...)
}

// spool is how far the cloud has what was captured.
func spool(f *Facts, t *cloudv1.ForwarderTelemetry) Result {
	r := Result{Category: "telemetry", Name: "spool"}
	s := t.GetSpool()
	since := func(at int64) time.Duration { return time.Duration(t.GetTime() - at) }
	last := "has acknowledged none since the forwarder's start"
	if s.GetAcknowledged() != 0 {
		last = fmt.Sprintf("acknowledged the last one %s ago", human(since(s.GetAcknowledged())))
	}
	waits := fmt.Sprintf("%d batches wait, %s of %s", s.GetBatches(), size(s.GetBytes()), size(s.GetLimit()))
	switch {
	case s.GetError() != "":
		return r.fail(fmt.Sprintf("kubectl -n %s logs deployment/speedscale-forwarder says more", f.Namespace), "it does not answer: %s", s.GetError())
	case t.GetDataOff():
		return r.ok("data is switched off (forwarder.data: false): %d pairs were dropped, and %s", t.GetDropped()[traffic.ReasonDataOff], waits)
	case s.GetBatches() > 0 && since(s.GetOldest()) > stuckAfter && (s.GetAcknowledged() == 0 || since(s.GetAcknowledged()) > stuckAfter):
		return r.fail(fmt.Sprintf("kubectl -n %s logs deployment/speedscale-forwarder says why the cloud takes nothing", f.Namespace),
			"%s, the first for %s, and the cloud %s", waits, human(since(s.GetOldest())), last)
	case s.GetLimit() > 0 && s.GetBytes()*100 >= s.GetLimit()*almostFull:
		return r.warn("the chart's forwarder.spool.size gives it more room", "%s: what comes when it is full is dropped; the cloud %s", waits, last)
	}
	return r.ok("%s; the cloud %s", waits, last)
}

func human(d time.Duration) string { return duration.HumanDuration(max(0, d)) }

func size(n uint64) string {
	const unit = 1 << 10
	if n > unit {
		n -= n % unit // a quantity is written in the largest unit that is exact
	}
	if n > unit*unit {
		n -= n % (unit * unit)
	}
	return resource.NewQuantity(int64(n), resource.BinarySI).String() + "B"
}

// versions names sidecars that are not of the forwarder's version.
func versions(t *cloudv1.ClusterTelemetry) Result {
	r := Result{Category: "telemetry", Name: "versions"}
	others, n := map[string]int{}, 0
	for _, s := range t.GetSidecars() {
		if s.GetVersion() != t.GetForwarder().GetVersion() {
			others[s.GetVersion()]++
			n++
		}
	}
	if n == 0 {
		return r.ok("all are %s", t.GetForwarder().GetVersion())
	}
	var parts []string
	for _, version := range slices.Sorted(maps.Keys(others)) {
		parts = append(parts, fmt.Sprintf("%d of %s", others[version], version))
	}
	r = r.ok("%d of %d sidecars are of another version than the forwarder: %s", n, len(t.GetSidecars()), strings.Join(parts, ", "))
	r.Hint = "speedctl upgrade --roll makes their pods anew; until then they go on working"
	return r
}

// chosen are the reasons of losses that are somebody's choice, or the app's own nature.
func chosen(reason string) bool {
	switch reason {
	case traffic.ReasonFiltered, traffic.ReasonSampled, traffic.ReasonReplay, traffic.ReasonDataOff, traffic.ReasonOpaqueTLS,
		traffic.ReasonUnknown, traffic.ReasonUpgraded, traffic.ReasonIncomplete:
		return true
	}
	return false
}

// drops names the workloads whose sidecars lose more and more.
func drops(sidecars []*cloudv1.SidecarTelemetry) (results []Result) {
	lost := map[string]map[string]uint64{} // by workload and reason
	for _, s := range sidecars {
		for _, l := range slices.Concat(s.GetInbound().GetLost(), s.GetOutbound().GetLost(), s.GetUnsent()) {
			n := l.GetRecentPairs() + l.GetRecentConnections()
			if n == 0 || chosen(l.GetReason()) {
				continue
			}
			name := workloadName(s.GetNamespace(), s.GetService())
			if lost[name] == nil {
				lost[name] = map[string]uint64{}
			}
			lost[name][l.GetReason()] += n
		}
	}
	for _, name := range slices.Sorted(maps.Keys(lost)) {
		r := Result{Category: "telemetry", Name: name}
		var parts []string
		for _, reason := range slices.Sorted(maps.Keys(lost[name])) {
			parts = append(parts, fmt.Sprintf("%s %d", reason, lost[name][reason]))
		}
		results = append(results, r.warn(dropHint(lost[name]), "its sidecars drop what they should capture; lately %s", strings.Join(parts, ", ")))
	}
	return shorten(results, "workloads drop what they should capture")
}

func dropHint(reasons map[string]uint64) string {
	switch {
	case reasons[traffic.ReasonUnacked]+reasons[traffic.ReasonSpoolFull]+reasons[traffic.ReasonNoRules] > 0:
		return "the forwarder does not take it: the checks above, and its log, say why"
	case reasons[traffic.ReasonDisabled] > 0:
		return "goproxy died again and again: kubectl logs POD -c speedscale-goproxy --previous says why"
	case reasons[traffic.ReasonBudget]+reasons[traffic.ReasonQueue]+reasons[traffic.ReasonGap] > 0:
		return "the annotations sidecar.speedscale.com/memory-limit and cpu-limit give it more"
	}
	return "kubectl logs POD -c speedscale-goproxy says more"
}

// quietDirections names workloads whose sidecars see nothing.
func quietDirections(sidecars []*cloudv1.SidecarTelemetry) []Result {
	var warnings, notes []Result
	for _, q := range quiet.Find(sidecars) {
		r := Result{Category: "telemetry", Name: workloadName(q.Namespace, q.Service)}
		text := fmt.Sprintf("%s (%d pods, such as %s)", q.Text, len(q.Pods), q.Pods[0])
		if q.Warning {
			warnings = append(warnings, r.warn(q.Hint, "%s", text))
			continue
		}
		r = r.ok("%s", text)
		r.Hint = q.Hint
		notes = append(notes, r)
	}
	return append(shorten(warnings, "directions see nothing"), shorten(notes, "directions see nothing")...)
}

func workloadName(namespace, service string) string {
	if namespace == "" {
		return service
	}
	return namespace + "/" + service
}

// shorten leaves out what is too much to read.
func shorten(results []Result, what string) []Result {
	if len(results) <= maxNamed {
		return results
	}
	more := results[maxNamed]
	more.Name, more.Text, more.Hint = "more", fmt.Sprintf("%d more %s", len(results)-maxNamed, what), "speedctl get agents lists all sidecars"
	return append(results[:maxNamed:maxNamed], more)
}

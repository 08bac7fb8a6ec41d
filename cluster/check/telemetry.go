package check

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/duration"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic"
)

const (
	// stuckAfter is how long the cloud may acknowledge nothing while something waits.
	stuckAfter = 5 * time.Minute
	// almostFull is the part of the spool, in percent, from which on it is worth a word.
	almostFull = 80
)

// Cluster is what the forwarder's Deployment says of the cluster and of what may leave it.
type Cluster struct {
	// Name is the cluster's.
	Name string
	// Knows says that the forwarder is of a version that has telemetry, and Told that it
	// tells the cloud.
	Knows, Told bool
	// Interval is how often it does.
	Interval time.Duration
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
		c = Cluster{Name: set["CLUSTER_NAME"], Knows: err == nil, Told: interval > 0 && set["WITH_TELEMETRY"] != "false", Interval: interval}
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

// told is the latest that the cloud has heard of the cluster. Without it, the result says
// why nothing is known.
func told(f *Facts) (*cloudv1.ClusterTelemetry, Result) {
	c := ClusterOf(f.Forwarder.Object)
	switch {
	case f.Forwarder.Object == nil:
		return nil, skip("there is no forwarder")
	case !c.Knows:
		return nil, ok("not known: the forwarder is of a version that has no telemetry")
	case !c.Told:
		return nil, ok("not looked at: telemetry is switched off")
	case f.Cloud == nil || f.Cloud.Err != nil:
		return nil, skip("the cloud was not reached")
	case f.Cloud.Telemetry.Err != nil:
		return nil, skip("%v", f.Cloud.Telemetry.Err)
	case f.Cloud.Telemetry.Latest == nil && f.started(lateAfter(c.Interval)):
		return nil, ok("not known yet: the forwarder has just started")
	case f.Cloud.Telemetry.Latest == nil:
		return nil, skip("the cloud has heard nothing")
	}
	return f.Cloud.Telemetry.Latest, Result{}
}

// lateAfter is when telemetry is late that comes every interval.
func lateAfter(interval time.Duration) time.Duration { return 3*interval + 30*time.Second }

// started says that the forwarder did so within a time.
func (f *Facts) started(within time.Duration) bool {
	return f.ForwarderPod != nil && f.ForwarderPod.Status.StartTime != nil && f.Now.Sub(f.ForwarderPod.Status.StartTime.Time) < within
}

// forwarderLogs is a hint.
func forwarderLogs(f *Facts, what string) string {
	return fmt.Sprintf("kubectl -n %s logs deployment/%s says %s", f.Namespace, forwarderName, what)
}

func forwarderTelemetry(f *Facts) Result {
	name := ClusterOf(f.Forwarder.Object).Name
	t, why := told(f)
	if t == nil && f.Cloud != nil && f.Cloud.Err == nil && f.Cloud.Telemetry.Err == nil && why.Status == Skipped && f.Forwarder.Object != nil {
		return warn(forwarderLogs(f, "why")+"; its API key needs the scope ingest", "the cloud has heard nothing of cluster %q for an hour", name)
	}
	if t == nil {
		return why
	}
	age := f.Cloud.Telemetry.Age
	if interval := time.Duration(t.GetInterval()); age > lateAfter(interval) {
		return warn(forwarderLogs(f, "why"), "the cloud has heard of cluster %q %s ago, and should every %s", name, human(age), interval)
	}
	return ok("%s, with %d sidecars, %s ago", t.GetForwarder().GetVersion(), t.GetSidecarCount(), human(age))
}

func forwarderTakes(f *Facts) Result {
	t, why := told(f)
	switch {
	case t == nil:
		return why
	case t.GetForwarder().GetUnready() != "":
		return fail(forwarderLogs(f, "more"), "it takes nothing: %s", t.GetForwarder().GetUnready())
	}
	return ok("%d pairs since its start", t.GetForwarder().GetPairs())
}

func forwarderSpool(f *Facts) Result {
	t, why := told(f)
	if t == nil {
		return why
	}
	s := t.GetForwarder().GetSpool()
	waits := fmt.Sprintf("%d batches wait, %s of %s", s.GetBatches(), size(s.GetBytes()), size(s.GetLimit()))
	switch {
	case s.GetError() != "":
		return fail(forwarderLogs(f, "more"), "it does not answer: %s", s.GetError())
	case s.GetLimit() > 0 && s.GetBytes()*100 >= s.GetLimit()*almostFull:
		return warn("the chart's forwarder.spool.size gives it more room", "%s: what comes when it is full is dropped", waits)
	}
	return ok("%s", waits)
}

// forwarderAcknowledged is how far the cloud has what was captured.
func forwarderAcknowledged(f *Facts) Result {
	t, why := told(f)
	if t == nil {
		return why
	}
	s := t.GetForwarder().GetSpool()
	since := func(at int64) time.Duration { return time.Duration(t.GetForwarder().GetTime() - at) }
	last := "it has acknowledged none since the forwarder's start"
	if s.GetAcknowledged() != 0 {
		last = fmt.Sprintf("it acknowledged the last one %s ago", human(since(s.GetAcknowledged())))
	}
	switch {
	case s.GetError() != "":
		return skip("the spool does not answer")
	case t.GetForwarder().GetDataOff():
		return ok("data is switched off (forwarder.data: false): %d pairs were dropped", t.GetForwarder().GetDropped()[traffic.ReasonDataOff])
	case s.GetBatches() > 0 && since(s.GetOldest()) > stuckAfter && (s.GetAcknowledged() == 0 || since(s.GetAcknowledged()) > stuckAfter):
		return fail(forwarderLogs(f, "why the cloud takes nothing"), "%d batches wait, the first for %s, and %s", s.GetBatches(), human(since(s.GetOldest())), last)
	}
	return ok("%s", last)
}

func forwarderClock(f *Facts) Result {
	t, why := told(f)
	switch {
	case t == nil:
		return why
	case t.GetReceived() == 0:
		return ok("not compared: the cloud did not say when it heard of it")
	}
	return apart(time.Duration(t.GetForwarder().GetTime()-t.GetReceived()), "the forwarder", "the cloud", "the time in the forwarder's telemetry and that of its arrival")
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

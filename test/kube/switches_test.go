package kube

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/speedscale/speedscale/traffic"
)

// switches has data, telemetry and control switched off, one at a time, and the other two
// go on. Meanwhile an app that goes around its proxy is noticed.
func switches(c *cluster) {
	const often = "telemetry.interval=5s"
	c.install("--set", often+",forwarder.spool.persistent=true")
	if got := c.kubectl("-n", "speedscale", "get", "persistentvolumeclaims", "-o", "jsonpath={.items[*].status.phase}"); got != "Bound" {
		c.Errorf("the volume of the forwarder's spool is %q", got)
	}
	c.capturesAgain("with a spool on a volume")
	c.apply("quiet", "quiet.yaml")
	c.rollout("quiet", "deployment/deaf")
	started := time.Now()

	c.install("--set", often+",forwarder.data=false")
	c.eventually("what is dropped without data is not told", func() bool {
		a := c.agents()
		return a.Forwarder.DataOff && !a.Forwarder.DataConnected && a.Forwarder.Dropped[traffic.ReasonDataOff] > 0
	})
	c.eventually("data goes on", func() bool { return !c.capturedSince("10s") })
	c.tells()
	c.commands()
	if out, err := c.try(speedctl, "check"); err != nil || !strings.Contains(out, "data is switched off") {
		c.Errorf("check without data: %v\n%s", err, out)
	}

	c.install("--set", often+",telemetry.enabled=false")
	c.capturesAgain("without telemetry")
	before := c.agents().Received
	time.Sleep(12 * time.Second) // two intervals, and what was on its way
	if a := c.agents(); a.Received != before {
		c.Errorf("without telemetry the cloud was told at %v", time.Unix(0, a.Received))
	}
	c.commands()

	c.install("--set", often+",dashboardAccess=false")
	c.eventually("the inspector stays", func() bool {
		_, err := c.try("kubectl", "-n", "speedscale", "get", "deployment", "speedscale-inspector")
		return err != nil
	})
	if out, err := c.try(speedctl, "infra", "workloads", "-n", "quiet"); err == nil {
		c.Errorf("a cluster without an inspector answers:\n%s", out)
	}
	c.capturesAgain("without control")
	c.tells()

	quietDirections(c, started)
	c.install()
}

// quietDirections: the app of testdata/quiet.yaml is told about by events, by check and by
// why, each with what can be done.
func quietDirections(c *cluster, started time.Time) {
	c.Helper()
	pod := c.pod("quiet", "deaf").Name
	c.eventually("the app that goes around its proxy is not told", func() bool {
		notes := c.kubectl("-n", "quiet", "get", "events", "--field-selector=reason=DirectionQuiet,type=Warning,involvedObject.kind=Pod,involvedObject.name="+pod, "-o", "jsonpath={.items[*].message}")
		return strings.Contains(notes, "nothing go out") && strings.Contains(notes, "HTTP_PROXY")
	})
	c.Logf("told %v after the pod was ready", time.Since(started).Round(time.Second))
	// A forwarder that has just started hears of sidecars within an interval.
	for _, command := range [][]string{{"check"}, {"why", pod, "-n", "quiet"}} {
		c.eventually("speedctl "+command[0]+" does not say it", func() bool {
			out, err := c.try(speedctl, command...)
			return err == nil && strings.Contains(out, "nothing go out") && strings.Contains(out, "hint: the app may ignore HTTP_PROXY")
		})
	}
}

// heard is what is looked at of telemetry.
type heard struct {
	Received  int64
	Forwarder struct {
		DataOff       bool `json:"data_off"`
		DataConnected bool `json:"data_connected"`
		Dropped       map[string]uint64
	}
}

// agents is what the cloud has heard of the cluster last.
func (c *cluster) agents() heard {
	c.Helper()
	var list []heard
	if err := json.Unmarshal([]byte(c.speedctl("get", "agents", "--cluster", "e2e", "-o", "json", "-q")), &list); err != nil {
		c.Fatal(err)
	}
	if len(list) == 0 {
		return heard{}
	}
	return list[0]
}

// tells waits for telemetry that is newer than the call.
func (c *cluster) tells() {
	c.Helper()
	now := time.Now().UnixNano()
	c.eventually("there is no telemetry", func() bool { return c.agents().Received > now })
}

// commands has the inspector carry one out.
func (c *cluster) commands() {
	c.Helper()
	if out := c.speedctl("infra", "workloads", "-n", "quiet", "-o", "json"); !strings.Contains(out, "deaf") {
		c.Errorf("workloads are\n%s", out)
	}
}

// capturesAgain waits until something that java-server does from now on is in the cloud.
func (c *cluster) capturesAgain(when string) {
	c.Helper()
	now := time.Now().UTC().Format(time.RFC3339)
	c.eventually(when+" nothing is captured", func() bool { return c.capturedSince(now) })
}

// capturedSince says whether what java-server did since then is in the cloud.
func (c *cluster) capturedSince(start string) bool {
	c.Helper()
	return c.speedctl("get", "traffic", "--service", "java-server", "--start", start, "-o", "json", "-q") != ""
}

package kube

import (
	"context"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/speedscale/speedscale/cluster/check"
)

// planted is a fault: what a user may do to a cluster, and which checks find it.
type planted struct {
	name string
	ids  []string
	// plant and heal do and undo it; nil where the flags are all there is to it.
	plant, heal func(*cluster)
	flags       []string
}

// namespaceOfFaults has the workloads that faults are about.
const namespaceOfFaults = "faulty"

// checks plants faults one after the other. Each is found by the checks of those names, and
// gone when it is healed, so that the next one is not found before it is there; before and
// after them nothing is found.
func checks(c *cluster) {
	c.namespace(namespaceOfFaults)
	c.serve(namespaceOfFaults, "app", injected, false)
	c.serve(namespaceOfFaults, "held", "{}", false)
	c.rollout(namespaceOfFaults, "deployment/app")
	c.rollout(namespaceOfFaults, "deployment/held")
	c.nothingFound()
	all := slices.Concat(c.faultsOfTheWay(), faultsOfTheInstallation(c), faultsOfTheWebhooks(c), faultsOfPods(c), faultsOfApps())
	for _, f := range all {
		c.run(f.name, f.find)
	}
	if len(all) < 20 {
		c.Errorf("only %d faults", len(all))
	}
	began := time.Now()
	c.speedctl("check", "--wait", "90s", "-q")
	c.Logf("nothing fails %v after the last fault", time.Since(began).Round(time.Second))
	c.nothingFound()
	if out := c.speedctl("check"); !strings.Contains(out, " checks hold") || strings.Contains(out, "    see ") {
		c.Errorf("a healthy installation is\n%s", out)
	}
}

// find plants a fault, finds it, and heals it.
func (f planted) find(c *cluster) {
	healed := f.plant == nil
	if !healed {
		c.Cleanup(func() {
			if !healed {
				f.heal(c)
			}
		})
		f.plant(c)
	}
	var last []check.Result
	for deadline := time.Now().Add(2 * time.Minute); ; {
		last = c.found(f.flags...)
		missing := slices.DeleteFunc(slices.Clone(f.ids), func(id string) bool { return slices.Contains(ids(last), id) })
		if len(missing) == 0 {
			break
		}
		if time.Now().After(deadline) {
			c.Fatalf("%q do not find it: %+v", missing, last)
		}
		time.Sleep(200 * time.Millisecond)
	}
	for _, r := range last {
		if slices.Contains(f.ids, r.ID) {
			c.Logf("%s: %s %s: %s", r.ID, r.Status, r.Subject, r.Text)
			if r.Hint == "" || r.Doc == "" {
				c.Errorf("no hint or no address: %+v", r)
			}
		}
	}
	if f.plant != nil {
		f.heal(c)
		healed = true
		c.eventually("it is still found", func() bool { return !containsAny(ids(c.found()), f.ids) })
	}
}

func containsAny(list, words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return slices.Contains(list, w) })
}

// found is what speedctl check finds: warnings and failures. Its exit code says whether
// there are failures.
func (c *cluster) found(flags ...string) (list []check.Result) {
	c.Helper()
	cmd := exec.CommandContext(c.Context(), speedctl, append([]string{"check", "-o", "json"}, flags...)...)
	cmd.Env = c.env
	out, err := cmd.Output() // what is not JSON is a failure
	var report check.Report
	if wrong := json.Unmarshal(out, &report); wrong != nil {
		c.Fatalf("speedctl check: %v, %v\n%s", err, wrong, out)
	}
	if (err == nil) != report.Success || report.Success != (report.Count(check.Failed) == 0) {
		c.Errorf("exit code %d, success %v, %d failures", cmd.ProcessState.ExitCode(), report.Success, report.Count(check.Failed))
	}
	for _, r := range report.All() {
		if r.Status == check.Warning || r.Status == check.Failed {
			list = append(list, r)
		}
	}
	return list
}

// nothingFound waits until nothing is: what the sidecars of earlier parts said is forgotten
// after some minutes.
func (c *cluster) nothingFound() {
	c.Helper()
	began := time.Now()
	for last := ""; ; time.Sleep(time.Second) {
		found := c.found()
		if len(found) == 0 {
			c.Logf("nothing is found after %v, at last %q", time.Since(began).Round(time.Second), last)
			return
		}
		last = strings.Join(ids(found), " ")
		if time.Since(began) > 2*time.Minute {
			c.Fatalf("found in a healthy installation: %+v", found)
		}
	}
}

func ids(results []check.Result) (list []string) {
	for _, r := range results {
		list = append(list, r.ID)
	}
	return list
}

// commands returns what runs kubectl, also while the test ends: what is planted is healed
// whatever happens.
func commands(args ...string) func(*cluster) {
	return func(c *cluster) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), 90*time.Second)
		defer cancel()
		if out, err := exec.CommandContext(ctx, "kubectl", args...).CombinedOutput(); err != nil {
			c.Errorf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// patches returns what changes an object by a JSON patch (RFC 6902).
func patches(args []string, patch string) func(*cluster) {
	return commands(append(slices.Clone(args), "--type=json", "-p", patch)...)
}

package kube

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// upgrade changes a value of the chart, which sidecars get too: no pod of an app is made anew,
// until that is asked for, and then one workload after the other. The part that comes next
// installs with other values.
func upgrade(c *cluster) {
	const namespace = "upgrade"
	c.kubectl("wait", "namespaces", "--field-selector=status.phase=Terminating", "--for=delete", "--timeout=3m")
	c.namespace(namespace)
	c.serve(namespace, "kept-1", injected, false)
	c.serve(namespace, "kept-2", injected, false)
	c.rollout(namespace, "deployment/kept-1")
	c.rollout(namespace, "deployment/kept-2")
	before := c.injectedPods()

	c.speedctl("upgrade", "--set", "logLevel=debug")
	if got := c.kubectl("-n", "speedscale", "get", "pods", "-l", "app=speedscale-forwarder", "-o", `jsonpath={.items[*].spec.containers[0].env[?(@.name=="LOG_LEVEL")].value}`); got != "debug" {
		c.Errorf("the upgrade ended before the forwarder had its settings: its log level is %q", got)
	}
	time.Sleep(20 * time.Second) // in the first 15 a new operator leaves workloads alone
	if diff := gocmp.Diff(before, c.injectedPods(), gocmp.Transformer("uids", uids)); diff != "" {
		c.Errorf("the upgrade changed pods (-before +after):\n%s", diff)
	}

	c.refusedUpgrade()
	// install goes on with what upgrade was given, and takes nothing over.
	c.speedctl("install")
	if got := c.kubectl("-n", "speedscale", "get", "configmap", "speedscale-operator", "-o", "jsonpath={.data.LOG_LEVEL} {.data.CLUSTER_NAME}"); got != "debug e2e" {
		c.Errorf("after a plain installation the settings are %q", got)
	}
	for _, command := range [][]string{{"install", "-n", "another"}, {"upgrade", "-n", "another"}, {"install", "--cloud-namespace", "another"}, {"upgrade", "--cloud-namespace", "another"}} {
		if out, err := c.try(speedctl, command...); err == nil || !strings.Contains(out, "hint: -n speedscale means that one") && !strings.Contains(out, "hint: --cloud-namespace speedscale-cloud means that one") {
			c.Errorf("speedctl %s: %v\n%s", strings.Join(command, " "), err, out)
		}
	}
	if out := c.kubectl("get", "namespace", "another", "--ignore-not-found", "-o", "name"); out != "" {
		c.Errorf("there is %s", out)
	}

	c.speedctl("upgrade", "--roll")
	after := c.injectedPods()
	rolled := map[string][]corev1.Pod{} // by workload
	for _, p := range after {
		if slices.Contains(uids(before), string(p.UID)) {
			c.Errorf("pod %s/%s was not made anew", p.Namespace, p.Name)
		}
		rolled[p.Namespace+"/"+p.Labels["app"]] = append(rolled[p.Namespace+"/"+p.Labels["app"]], p)
	}
	for _, app := range []string{"kept-1", "kept-2"} {
		if pods := rolled[namespace+"/"+app]; len(pods) != 1 || sidecarLevel(pods[0]) != "debug" {
			c.Errorf("the pods of %s have not the new settings: %v", app, pods)
		}
	}
	var last rollout
	for _, r := range rollouts(rolled) {
		if r.began.Before(last.ready) {
			c.Errorf("%s began at %v, when %s was not ready: it was at %v", r.workload, r.began, last.workload, last.ready)
		}
		last = r
	}
}

// refusedUpgrade: with settings that the forwarder would not take, the pods that run go on.
func (c *cluster) refusedUpgrade() {
	c.Helper()
	running := func() string {
		return c.kubectl("-n", "speedscale", "get", "pods", "-l", "app in (speedscale-operator,speedscale-forwarder)", "--field-selector=status.phase=Running",
			"-o", `jsonpath={.items[?(@.status.containerStatuses[0].ready==true)].metadata.uid}`)
	}
	before := running()
	if out, err := c.try(speedctl, "upgrade", "--set", "filterRule=standrad", "--timeout", "15s"); err == nil {
		c.Errorf("a filter rule that there is not is taken:\n%s", out)
	}
	if now := running(); now != before || len(strings.Fields(now)) != 2 {
		c.Errorf("of operator and forwarder there ran %s, and there run %s", before, now)
	}
	c.speedctl("upgrade", "--set", "filterRule=standard")
}

// moreRoom: the cloud's volume grows while its pod runs, where the storage class allows that. It
// comes last, since a volume does not shrink again.
func moreRoom(c *cluster) {
	const class = "standard"
	pod := func() string {
		return c.kubectl("-n", "speedscale-cloud", "get", "pod", "speedscale-cloud-0", "-o", "jsonpath={.metadata.uid}")
	}
	claim := func() string {
		return c.kubectl("-n", "speedscale-cloud", "get", "pvc", "data-speedscale-cloud-0", "-o", "jsonpath={.spec.resources.requests.storage} {.spec.storageClassName}")
	}
	if got := claim(); got != "1Gi "+class {
		c.Skipf("SKIPPED: the cloud's volume is %q, and not one of the test node", got)
	}
	before := pod()
	grow := []string{"upgrade", "--cloud-set", "persistence.size=2Gi"}
	if out, err := c.try(speedctl, grow...); err == nil || !strings.Contains(out, "does not allow it (allowVolumeExpansion)") {
		c.Errorf("the storage class allows no growth: %v\n%s", err, out)
	}
	c.speedctl("upgrade") // what was refused is not tried again
	allow := func(allowed string) {
		commands("patch", "storageclass", class, "--type=merge", "-p", `{"allowVolumeExpansion": `+allowed+`}`)(c)
	}
	allow("true")
	c.Cleanup(func() { allow("false") })
	c.speedctl(grow...)
	if got := claim(); got != "2Gi "+class || pod() != before {
		c.Errorf("the claim has %q; the pod was %s, and is %s", got, before, pod())
	}
	if out, err := c.try(speedctl, "upgrade", "--cloud-set", "persistence.size=1Gi"); err == nil || !strings.Contains(out, "cannot shrink to 1Gi") {
		c.Errorf("a smaller volume: %v\n%s", err, out)
	}
	c.speedctl("upgrade")
}

// injectedPods are those with a sidecar that are not going away.
func (c *cluster) injectedPods() []corev1.Pod {
	c.Helper()
	var list corev1.PodList
	if err := json.Unmarshal([]byte(c.kubectl("get", "pods", "-A", "-l", "sidecar.speedscale.com/injected=true", "-o", "json")), &list); err != nil {
		c.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
}

func uids(pods []corev1.Pod) (list []string) {
	for _, p := range pods {
		list = append(list, string(p.UID))
	}
	slices.Sort(list)
	return list
}

// sidecarLevel is the log level of a pod's goproxy.
func sidecarLevel(p corev1.Pod) string {
	for _, v := range p.Spec.Containers[0].Env {
		if v.Name == "LOG_LEVEL" {
			return v.Value
		}
	}
	return ""
}

// rollout is when a workload's new pods were made, and were all ready.
type rollout struct {
	workload     string
	began, ready time.Time
}

// rollouts in the order of their beginnings.
func rollouts(rolled map[string][]corev1.Pod) (list []rollout) {
	for workload, pods := range rolled {
		r := rollout{workload: workload, began: pods[0].CreationTimestamp.Time}
		for _, p := range pods {
			if at := p.CreationTimestamp.Time; at.Before(r.began) {
				r.began = at
			}
			for _, condition := range p.Status.Conditions {
				if at := condition.LastTransitionTime.Time; condition.Type == corev1.PodReady && at.After(r.ready) {
					r.ready = at
				}
			}
		}
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b rollout) int { return cmp.Or(a.began.Compare(b.began), a.ready.Compare(b.ready)) })
	return list
}

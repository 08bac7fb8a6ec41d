package kube

import (
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// kinds injects workloads of each kind and pods of each QoS class, also ones whose init
// containers need the network.
func kinds(c *cluster) {
	const namespace = "every-kind"
	c.apply(namespace, "kinds.yaml")
	c.kubectl("-n", namespace, "create", "job", "kind-cron-now", "--from=cronjob/kind-cron")
	for _, workload := range []string{"statefulset/kind-set", "daemonset/kind-daemon", "deployment/init-before", "deployment/init-behind"} {
		c.rollout(namespace, workload)
	}
	c.kubectl("-n", namespace, "wait", "pod/kind-pod", "--for=condition=Ready", "--timeout=3m")
	c.kubectl("-n", namespace, "wait", "job/kind-job", "job/kind-cron-now", "--for=condition=Complete", "--timeout=3m")
	for _, want := range []struct {
		app          string
		qos          corev1.PodQOSClass
		native, last string // the init container, if it is one, and the last of them
	}{
		{"kind-set", corev1.PodQOSBurstable, "", "speedscale-initproxy"},
		{"kind-daemon", corev1.PodQOSGuaranteed, "", "speedscale-initproxy"},
		{"kind-pod", corev1.PodQOSBestEffort, "", "speedscale-initproxy"},
		{"kind-job", corev1.PodQOSBestEffort, "speedscale-goproxy", "speedscale-initproxy"},
		{"kind-cron", corev1.PodQOSBestEffort, "speedscale-goproxy", "speedscale-initproxy"},
		{"init-before", corev1.PodQOSBestEffort, "", "speedscale-initproxy"},
		{"init-behind", corev1.PodQOSBestEffort, "speedscale-goproxy", "fetch"},
	} {
		pod := c.pod(namespace, want.app)
		if pod.Status.QOSClass != want.qos {
			c.Errorf("%s: the QoS class is %s, want %s", want.app, pod.Status.QOSClass, want.qos)
		}
		if native := nativeSidecar(pod); native != want.native {
			c.Errorf("%s: the native sidecar is %q, want %q", want.app, native, want.native)
		}
		if first := pod.Spec.Containers[0].Name; (first == "speedscale-goproxy") != (want.native == "") {
			c.Errorf("%s: the first container is %s", want.app, first)
		}
		if last := pod.Spec.InitContainers[len(pod.Spec.InitContainers)-1].Name; last != want.last {
			c.Errorf("%s: the last init container is %s, want %s", want.app, last, want.last)
		}
	}
	if out, err := c.try("kubectl", "-n", namespace, "annotate", "--overwrite", "job", "kind-job", "sidecar.speedscale.com/inject=perhaps"); err == nil || !strings.Contains(out, `"perhaps"`) {
		c.Errorf("a wrong annotation of a Job that is there: %v\n%s", err, out)
	}
	if out := c.kubectl("-n", namespace, "annotate", "pod", "kind-pod", "sidecar.speedscale.com/tls-out=true"); !strings.Contains(out, "Warning: ") {
		c.Errorf("an annotation of a pod that is there, which does nothing:\n%s", out)
	}
	if out, err := c.try("kubectl", "-n", namespace, "apply", "-f", "testdata/replicaset.yaml"); err == nil || !strings.Contains(out, "a replicaset by itself cannot have") {
		c.Errorf("a ReplicaSet by itself: %v\n%s", err, out)
	}
	for app, location := range map[string]string{
		"kind-daemon": "/anything/app", "kind-pod": "/anything/app", "kind-job": "/anything/app", "kind-cron": "/anything/app",
		"init-before": "/anything/app", "init-behind": "/anything/init",
	} {
		c.called(app, location)
	}
	if list, _ := c.traffic("init-before"); slices.ContainsFunc(list, func(r record) bool { return r.Location == "/anything/init" }) {
		c.Errorf("an init container before goproxy is captured: %v", list)
	}
	c.eventually("the StatefulSet's requests are not in the cloud", func() bool {
		list, _ := c.traffic("kind-set")
		return slices.ContainsFunc(list, func(r record) bool { return r.Direction == "IN" && r.Location == "/anything/app" && r.Status == "200" })
	})
}

// called waits until the cloud has an outbound call of an app with status 200.
func (c *cluster) called(app, location string) {
	c.Helper()
	c.eventually("calls of "+app+" to "+location+" are not in the cloud", func() bool {
		list, _ := c.traffic(app)
		return slices.ContainsFunc(list, func(r record) bool { return r.Direction == "OUT" && r.Location == location && r.Status == "200" })
	})
}

// staying are a namespace's pods that have the labels, and are not going away.
func (c *cluster) staying(namespace, labels string) []corev1.Pod {
	c.Helper()
	var list corev1.PodList
	if err := json.Unmarshal([]byte(c.kubectl("-n", namespace, "get", "pods", "-l", labels, "-o", "json")), &list); err != nil {
		c.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
}

// pod is an app's only pod that is not going away.
func (c *cluster) pod(namespace, app string) *corev1.Pod {
	c.Helper()
	pods := c.staying(namespace, "app="+app)
	if len(pods) != 1 {
		c.Fatalf("%s has %d pods", app, len(pods))
	}
	return &pods[0]
}

// nativeSidecar is the init container that goes on running, "" without one.
func nativeSidecar(pod *corev1.Pod) string {
	for _, container := range pod.Spec.InitContainers {
		if p := container.RestartPolicy; p != nil && *p == corev1.ContainerRestartPolicyAlways {
			return container.Name
		}
	}
	return ""
}

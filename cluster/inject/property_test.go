package inject_test

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/inject"
)

// each calls do with every pod of testdata under the settings of every other, as far as
// it is injected.
func each(t *testing.T, do func(t *testing.T, name string, pod, out *corev1.Pod, s annotation.Sidecar)) {
	t.Helper()
	type input struct {
		name string
		pod  *corev1.Pod
		s    annotation.Sidecar
	}
	var all []input
	for _, file := range inputs(t) {
		pod, s := read(t, file)
		all = append(all, input{filepath.Base(file), pod, s})
	}
	n := 0
	for _, a := range all {
		for _, b := range all {
			out, err := inject.Pod(a.pod, cart, b.s, optionsFor(t, a.pod))
			if err == nil {
				n++
				do(t, a.name+" with the settings of "+b.name, a.pod, out, b.s)
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d pods were injected", n)
	}
}

// diff is cmp.Diff, which takes long to find that nothing differs.
func diff(before, after any) string {
	if reflect.DeepEqual(before, after) {
		return ""
	}
	return cmp.Diff(before, after)
}

// TestTheRestStays: but for what is documented, the owner's containers and volumes are
// as they were, in their order.
func TestTheRestStays(t *testing.T) {
	each(t, func(t *testing.T, file string, pod, out *corev1.Pod, s annotation.Sidecar) {
		owned := func(list []corev1.Container) (found []corev1.Container) {
			for _, c := range list {
				if !strings.HasPrefix(c.Name, "speedscale-") {
					found = append(found, c)
				}
			}
			return found
		}
		for _, lists := range [][2][]corev1.Container{
			{pod.Spec.InitContainers, owned(out.Spec.InitContainers)}, {pod.Spec.Containers, owned(out.Spec.Containers)},
		} {
			if len(lists[0]) != len(lists[1]) {
				t.Fatalf("%s: %d containers became %d", file, len(lists[0]), len(lists[1]))
			}
			for i, was := range lists[0] {
				is := lists[1][i]
				// Variables and mounts are added; a port's name goes to goproxy.
				for _, c := range []*corev1.Container{&was, &is} {
					if s.Type == "reverse" || s.Type == "dual" {
						c.Ports, c.LivenessProbe, c.ReadinessProbe, c.Lifecycle = nil, nil, nil, nil
					}
				}
				if len(is.Env) < len(was.Env) || len(is.VolumeMounts) < len(was.VolumeMounts) {
					t.Fatalf("%s: container %s lost variables or mounts", file, was.Name)
				}
				for j, e := range was.Env {
					if !strings.HasPrefix(is.Env[j].Value, e.Value) && s.JavaToolOptionsValue == "" &&
						e.Value != "/etc/ssl/certs/ca-certificates.crt" {
						t.Errorf("%s: %s of container %s was %q, is %q", file, e.Name, was.Name, e.Value, is.Env[j].Value)
					}
				}
				if s.KubeAPI { // a service account's files are moved
					is.VolumeMounts = slices.Clone(is.VolumeMounts)
					for j, m := range was.VolumeMounts {
						if m.MountPath == "/var/run/secrets/kubernetes.io/serviceaccount" && is.VolumeMounts[j].MountPath == "/var/run/secrets/speedscale.com/serviceaccount" {
							is.VolumeMounts[j].MountPath = m.MountPath
						}
					}
				}
				if d := cmp.Diff(was.VolumeMounts, is.VolumeMounts[:len(was.VolumeMounts)], cmpopts.EquateEmpty()); d != "" {
					t.Errorf("%s: %s", file, d)
				}
				was.Env, is.Env, was.VolumeMounts, is.VolumeMounts = nil, nil, nil, nil
				if d := diff(was, is); d != "" {
					t.Errorf("%s: %s", file, d)
				}
			}
		}
		if d := cmp.Diff(pod.Spec.Volumes, out.Spec.Volumes[:len(pod.Spec.Volumes)], cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s: %s", file, d)
		}
		rest := out.Spec.DeepCopy()
		rest.Volumes, rest.Containers, rest.InitContainers = pod.Spec.Volumes, pod.Spec.Containers, pod.Spec.InitContainers
		if strings.Contains(pod.Annotations[annotation.Replay], `"hostAliases":true`) { // for its mocks
			rest.HostAliases, rest.SecurityContext = pod.Spec.HostAliases, pod.Spec.SecurityContext
		}
		if d := diff(pod.Spec, *rest); d != "" {
			t.Errorf("%s: %s", file, d)
		}
	})
}

// TestKeyIsGoproxysAlone: whatever the mode, no container of the app mounts a volume in
// which there is a key or a token of ours, and those that do are restricted.
func TestKeyIsGoproxysAlone(t *testing.T) {
	each(t, func(t *testing.T, file string, _, out *corev1.Pod, s annotation.Sidecar) {
		for _, c := range append(out.Spec.InitContainers, out.Spec.Containers...) {
			paths := map[string]bool{}
			for _, m := range c.VolumeMounts {
				if paths[m.MountPath] {
					t.Errorf("%s: container %s mounts two volumes at %s", file, c.Name, m.MountPath)
				}
				paths[m.MountPath] = true
				private := m.Name == "speedscale-ca" || m.Name == "speedscale-goproxy"
				ours := c.Name == inject.Goproxy || c.Name == inject.InitCA
				if private && !ours || m.Name == "speedscale-trust" && !m.ReadOnly && c.Name != inject.InitCA {
					t.Errorf("%s: container %s mounts %s", file, c.Name, m.Name)
				}
			}
			if c.Name == inject.Initproxy && s.Type != "transparent" {
				t.Errorf("%s: %s outside transparent mode", file, c.Name)
			}
			if sc := c.SecurityContext; sc != nil && sc.Capabilities != nil && len(sc.Capabilities.Add) > 0 && c.Name != inject.Initproxy {
				t.Errorf("%s: container %s has capabilities %v", file, c.Name, sc.Capabilities.Add)
			}
		}
	})
}

// TestQoSClassStays, unless annotations set resources in a pod that has none.
func TestQoSClassStays(t *testing.T) {
	each(t, func(t *testing.T, name string, pod, out *corev1.Pod, s annotation.Sidecar) {
		asked := s.CPURequest != nil || s.CPULimit != nil || s.MemoryRequest != nil || s.MemoryLimit != nil
		was, is := class(pod), class(out)
		if was != is && !(was == "BestEffort" && asked) {
			t.Errorf("%s: was %s, is %s", name, was, is)
		}
	})
}

// class is a pod's QoS class, by Kubernetes' documentation of it.
func class(pod *corev1.Pod) string {
	if pod.Spec.Resources != nil {
		return "of the pod"
	}
	containers := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
	guaranteed := !slices.ContainsFunc(containers, func(c corev1.Container) bool {
		r, l := c.Resources.Requests, c.Resources.Limits
		same := func(name corev1.ResourceName) bool {
			request, ok := r[name]
			return !ok || request.Cmp(l[name]) == 0
		}
		return l.Cpu().IsZero() || l.Memory().IsZero() || !same(corev1.ResourceCPU) || !same(corev1.ResourceMemory)
	})
	none := !slices.ContainsFunc(containers, func(c corev1.Container) bool {
		return len(c.Resources.Requests)+len(c.Resources.Limits) > 0
	})
	switch {
	case none:
		return "BestEffort"
	case guaranteed:
		return "Guaranteed"
	}
	return "Burstable"
}

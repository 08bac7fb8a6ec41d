package inject_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/goproxy"
	"github.com/speedscale/speedscale/agents/initproxy"
	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/inject"
)

// TestBinariesReadWhatIsSet: every variable of our containers is one that the binary
// reads, its value is good, and none that it reads can come from a Service's links.
func TestBinariesReadWhatIsSet(t *testing.T) {
	readers := map[string]func(*agent.Vars) error{
		inject.Goproxy: func(v *agent.Vars) error {
			agent.Level(v)
			_, err := goproxy.ReadSettings(v)
			return err
		},
		inject.Initproxy: func(v *agent.Vars) error {
			agent.Level(v)
			_, err := initproxy.ReadSettings(v)
			return err
		},
	}
	seen := map[string]int{}
	each(t, func(t *testing.T, file string, _, out *corev1.Pod, _ annotation.Sidecar) {
		for _, c := range append(out.Spec.InitContainers, out.Spec.Containers...) {
			reads, ok := readers[c.Name]
			if !ok {
				continue
			}
			seen[c.Name]++
			set := environment(c)
			asked := map[string]bool{}
			if err := reads(agent.NewVars(func(name string) string { asked[name] = true; return set[name] })); err != nil {
				t.Errorf("%s: %s: %v", file, c.Name, err)
			}
			for name := range set {
				if !asked[name] {
					t.Errorf("%s: %s does not read %s", file, c.Name, name)
				}
			}
			for name := range asked {
				if _, ok := set[name]; strings.HasSuffix(name, "_PORT") && !ok {
					t.Errorf("%s: %s reads %s, which a Service of that name would set", file, c.Name, name)
				}
			}
		}
	})
	if seen[inject.Goproxy] < 10 || seen[inject.Initproxy] < 5 {
		t.Errorf("only %v were looked at", seen)
	}
}

// environment is a container's, with the fields of a pod as the kubelet fills them in.
func environment(c corev1.Container) map[string]string {
	fields := map[string]string{"metadata.name": "cart-1", "metadata.namespace": "shop", "status.hostIPs": "198.51.100.1,2001:db8::1"}
	set := map[string]string{}
	for _, e := range c.Env {
		set[e.Name] = e.Value
		if e.ValueFrom != nil {
			set[e.Name] = fields[e.ValueFrom.FieldRef.FieldPath]
		}
	}
	return set
}

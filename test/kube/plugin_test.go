package kube

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// kubectlPlugin is what kubectl makes of the plugin in bin: it runs it, hands its own flags
// on, and completes from the cluster.
func kubectlPlugin(c *cluster) {
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		c.Fatal(err)
	}
	c.env = append(slices.Clone(c.env), "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	for _, tc := range []struct{ args, want string }{
		{"speedscale version", "speedctl " + c.version},
		{"speedscale get workloads --namespace speedscale", "java-server"},
		{"speedscale why deployment/java-server --namespace speedscale", "captured"},
		{"__complete speedscale inj", "inject\t"},
		{"__complete speedscale inject --namespace speedscale deployment/java-s", "deployment/java-server"},
		{"__complete speedscale check --context ", c.kubectl("config", "current-context")},
	} {
		if out := c.kubectl(strings.Split(tc.args, " ")...); !strings.Contains(out, tc.want) {
			c.Errorf("kubectl %s has no %q:\n%s", tc.args, tc.want, out)
		}
	}
}

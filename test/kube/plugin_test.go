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
	} {
		if out := c.kubectl(strings.Split(tc.args, " ")...); !strings.Contains(out, tc.want) {
			c.Errorf("kubectl %s has no %q:\n%s", tc.args, tc.want, out)
		}
	}
	for _, tc := range []struct{ words, want string }{
		{"inj", "inject\t"},
		{"inject --namespace speedscale deployment/java-s", "deployment/java-server"},
		{"check --context ", c.kubectl("config", "current-context")},
	} {
		// Who waits for a completion gets none after two seconds, and presses the key again.
		c.eventually("kubectl does not complete speedscale "+tc.words, func() bool {
			return strings.Contains(c.kubectl(strings.Split("__complete speedscale "+tc.words, " ")...), tc.want)
		})
	}
}

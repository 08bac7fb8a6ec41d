package kube

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/speedscale/speedscale/test/docs"
	"github.com/speedscale/speedscale/traffic/report"
)

// pipelineRights: those that the guide to CI shows are enough to replay.
func pipelineRights(s *shop) {
	s.kubectl("create", "serviceaccount", "ci")
	roles := strings.ReplaceAll(rightsInGuide(s.cluster), "namespace: shop}", "namespace: "+s.ns+"}")
	s.stdin(roles, "kubectl", "apply", "-f", "-")
	s.Cleanup(func() {
		cmd := exec.Command("kubectl", "delete", "--ignore-not-found", "-f", "-") // at the test's end its context is over
		cmd.Stdin = strings.NewReader(roles)
		if out, err := cmd.CombinedOutput(); err != nil {
			s.Errorf("the rights stay: %v\n%s", err, out)
		}
	})
	env := append(os.Environ(), "SPEEDSCALE_HOME="+s.TempDir(), "KUBECONFIG="+s.kubeconfigOf("ci"))
	pipeline := &cluster{T: s.T, version: s.version, env: env}
	if out, err := pipeline.try("kubectl", "-n", s.ns, "get", "pods"); err == nil {
		s.Errorf("the pipeline may do more than the guide shows:\n%s", out)
	}
	r, code := pipeline.replay(s.ns, "deployment/web", "web")
	if code != 0 || r.Status != report.Passed || r.Requests.Passed != driven {
		s.Errorf("exit code %d, %s", code, describe(r))
	}
	s.nothingLeft()
	s.rollout(s.ns, "deployment/web")
}

func rightsInGuide(c *cluster) string {
	c.Helper()
	pages, err := docs.Pages("../../docs")
	if err != nil {
		c.Fatal(err)
	}
	for _, p := range pages {
		for _, b := range p.Blocks {
			if p.Name == "guides/ci.md" && strings.Contains(b.Text, "pods/portforward") {
				return b.Text
			}
		}
	}
	c.Fatal("guides/ci.md shows no rights")
	return ""
}

// kubeconfigOf writes that of a service account.
func (s *shop) kubeconfigOf(account string) (path string) {
	s.Helper()
	field := func(name string) string {
		return s.cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "jsonpath={.clusters[0].cluster."+name+"}")
	}
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: it\n"+
		"clusters: [{name: it, cluster: {server: %q, certificate-authority-data: %q}}]\n"+
		"users: [{name: it, user: {token: %q}}]\ncontexts: [{name: it, context: {cluster: it, user: it}}]\n",
		field("server"), field("certificate-authority-data"), s.kubectl("create", "token", account))
	path = s.TempDir() + "/kubeconfig"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
	return path
}

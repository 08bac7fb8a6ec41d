package kube

import (
	"fmt"
	"strings"
	"time"
)

// kubeAPI captures calls of the Kubernetes API by clients that trust the service account's
// ca.crt only. Their tokens are masked, and what is watched comes as it happens.
func kubeAPI(c *cluster) {
	const namespace, app = "kube-client", "kube-client"
	c.apply(namespace, "kubeapi.yaml")
	c.rollout(namespace, "deployment/"+app)
	var text string
	c.eventually("calls of the Kubernetes API are not captured", func() bool {
		var list []record
		list, text = c.traffic(app)
		n := 0
		for _, r := range list {
			if r.Direction == "OUT" && r.Location == "/api/v1/namespaces/kube-client/configmaps" && r.Status == "200" && strings.HasPrefix(r.NetworkAddress, "kubernetes.default.svc") {
				n++
			}
		}
		return n > 2
	})
	token := c.kubectl("-n", namespace, "exec", "deployment/"+app, "-c", "curl", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
	if signature := token[strings.LastIndex(token, ".")+1:]; len(token) < 100 || strings.Contains(text, signature) {
		c.Error("the token of the service account is in the cloud")
	}
	if log := strings.Split(c.kubectl("-n", namespace, "logs", "deployment/"+app, "-c", "curl"), "\n"); failed(log) {
		c.Errorf("calls failed:\n%s", strings.Join(log, "\n"))
	}
	for n := range 3 {
		tick := fmt.Sprintf(`"tick":"number-%d"`, n)
		c.kubectl("-n", namespace, "annotate", "--overwrite", "configmap", "ticks", fmt.Sprintf("tick=number-%d", n))
		changed := time.Now()
		var seen time.Time // as the node has it, since asking takes long on a busy one
		c.eventually("a change is not seen", func() bool {
			for line := range strings.Lines(c.kubectl("-n", namespace, "logs", "deployment/"+app, "-c", "watch", "--tail=20", "--timestamps")) {
				if at, event, _ := strings.Cut(line, " "); strings.Contains(event, tick) {
					seen, _ = time.Parse(time.RFC3339Nano, at)
				}
			}
			return !seen.IsZero()
		})
		if took := seen.Sub(changed); took > 15*time.Second {
			c.Errorf("what is watched came after %v", took)
		}
	}
	// The kubelet goes on renewing the token.
	if link := c.kubectl("-n", namespace, "exec", "deployment/"+app, "-c", "curl", "--", "readlink", "/var/run/secrets/kubernetes.io/serviceaccount/token"); link != "/var/run/secrets/speedscale.com/serviceaccount/token" {
		c.Errorf("the token is %q", link)
	}
}

package kube

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// outboundTLS captures the HTTPS calls of programs in several languages, as they come.
// Clients that cannot be captured go on working, and are counted by host.
func outboundTLS(c *cluster) {
	const namespace = "tls-clients"
	c.https(namespace)
	c.kubectl("-n", namespace, "apply", "-f", "testdata/tls.yaml")
	captured := []string{"tls-curl", "tls-node", "tls-python", "tls-go"}
	for _, app := range captured {
		c.rollout(namespace, "deployment/"+app)
		c.eventually(app+" is not captured", func() bool {
			n := 0
			list, _ := c.traffic(app)
			for _, r := range list {
				if r.Direction == "OUT" && r.NetworkAddress == "web."+namespace+".svc:443" && r.Location == "/launches/1" && r.Status == "200" {
					n++
				}
			}
			return n > 2
		})
	}
	for _, app := range append(captured, "tls-own-ca", "tls-certified") {
		if log := c.calls(namespace, app); failed(log) {
			c.Errorf("%s had calls that failed:\n%s", app, strings.Join(log, "\n"))
		}
	}
	// The first connection is the one by which its pin is known.
	if log := c.calls(namespace, "tls-pinned"); failed(log[1:]) {
		c.Errorf("the pinned client had calls that failed:\n%s", strings.Join(log, "\n"))
	}
	for _, opaque := range []struct{ app, host, reason string }{
		{"tls-pinned", "web", "client_refused"},
		{"tls-certified", "mtls", "client_certificate"},
		{"tls-own-ca", "private", "unverified_host"},
	} {
		counter := regexp.MustCompile(fmt.Sprintf(`(?m)^speedscale_goproxy_tls_connections_total\{host="%s\.%s\.svc[^"]*",reason="%s"\} [1-9]`, opaque.host, namespace, opaque.reason))
		if text := c.metrics(namespace, opaque.app); !counter.MatchString(text) {
			c.Errorf("%s is not counted as %s:\n%s", opaque.app, opaque.reason, text)
		}
		if list, _ := c.traffic(opaque.app); len(list) > 0 {
			c.Errorf("%s, which cannot be captured, has pairs: %v", opaque.app, list)
		}
	}
}

// calls returns what became of an app's calls, one a line, of which there are some.
func (c *cluster) calls(namespace, app string) (log []string) {
	c.Helper()
	c.eventually(app+" does not call", func() bool {
		log = strings.Split(c.kubectl("-n", namespace, "logs", "deployment/"+app), "\n")
		return len(log) > 3
	})
	return log
}

// failed says whether a call had another status than 200.
func failed(log []string) bool {
	return slices.ContainsFunc(log, func(line string) bool { return !strings.HasPrefix(line, "200") })
}

// podIP is the address of an app's only pod that is not going away.
func (c *cluster) podIP(namespace, app string) string {
	c.Helper()
	return c.pod(namespace, app).Status.PodIP
}

// metrics of goproxy in an app's pod.
func (c *cluster) metrics(namespace, app string) string {
	c.Helper()
	return c.get("http://" + net.JoinHostPort(c.podIP(namespace, app), "4145") + "/metrics")
}

// get returns the body of an answer with status 200.
func (c *cluster) get(url string) string {
	c.Helper()
	r, err := http.NewRequestWithContext(c.Context(), http.MethodGet, url, nil)
	if err != nil {
		c.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		c.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		c.Fatalf("%s: %s, %v\n%s", url, res.Status, err, text)
	}
	return string(text)
}

package kube

import (
	"slices"
	"strings"

	"github.com/speedscale/speedscale/traffic/report"
)

const (
	tokenVisits   = 3
	tokenRequests = tokenVisits * 4 // of testdata/tokens-driver.yaml
)

// tokenConfig signs the tokens anew, which the recording has masked.
const tokenConfig = `
id: tokens
generator:
  stages: [{virtualUsers: {virtualUsers: 1}}]
transforms:
  generator:
  - extractor: {type: http_req_header, config: {name: Authorization}}
    transforms: [{type: jwt_resign, config: {secretPath: jwt-key/hmac, sub: ada}}]
`

// tokens replays an app that checks tokens, cookies and ids, all of which are others
// when it has started again: cookies and ids are carried over, and tokens signed anew
// with the key of a Secret.
func tokens(c *cluster) {
	c.apply("tokens", "tokens.yaml")
	c.rollout("tokens", "deployment/strict")
	c.speedctl("inject", "deployment/strict", "-n", "tokens")
	c.eventually("the pod has no sidecar", func() bool { return c.containers("tokens", "strict") == "speedscale-goproxy strict" })
	c.kubectl("-n", "tokens", "apply", "-f", "testdata/tokens-driver.yaml")
	c.kubectl("-n", "tokens", "wait", "job/driver", "--for=condition=Complete", "--timeout=3m")
	c.eventually("not all pairs are in the cloud", func() bool {
		in := 0
		list, _ := c.traffic("strict")
		for _, r := range list {
			if r.Direction == "IN" {
				in++
			}
		}
		return in >= tokenRequests
	})
	c.speedctl("create", "snapshot", "--name", "tokens", "--service", "strict")

	r, code := c.replay("tokens", "deployment/strict", "tokens", "--test-config", "regression", "--no-mocks")
	if code != 3 || r.Requests.Failed != tokenVisits {
		c.Errorf("with masked tokens: exit code %d, %s", code, describe(r))
	}
	c.nothingLeft("tokens")
	c.stdin(tokenConfig, speedctl, "create", "test-config", "-")
	r, code = c.replay("tokens", "deployment/strict", "tokens", "--test-config", "tokens", "--no-mocks", "--secret-refs", "jwt-key")
	if code != 0 || r.Status != report.Passed || r.Requests.Passed != tokenRequests {
		c.Errorf("with tokens that are signed anew: exit code %d, %s", code, describe(r))
	}
	for _, to := range []string{"POST /orders http.req.cookies.sid", "GET /orders/{id} http.req.url", "GET /me"} {
		if !slices.ContainsFunc(r.Carried, func(k report.Carried) bool { return k.To == to && k.Count == tokenVisits && k.Missing == nil }) {
			c.Errorf("nothing is carried to %q: %s", to, describe(r))
		}
	}
	if logs := c.kubectl("-n", "speedscale", "logs", "deployment/speedscale-operator"); strings.Contains(describe(r)+logs, "the key that no report shows") {
		c.Error("the key is in the report or in the operator's log")
	}
	c.nothingLeft("tokens")
}

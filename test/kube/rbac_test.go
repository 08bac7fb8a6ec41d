package kube

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// request is what the audit log has of one, as far as roles are about it.
type request struct {
	Verb string
	User struct{ Username string }
	// ObjectRef is of audit.k8s.io/v1; Subresource stands apart from Resource.
	ObjectRef      struct{ Resource, Namespace, Name, APIGroup, Subresource string }
	ResponseStatus struct{ Code int }
	Annotations    map[string]string
}

// leastRights compares the rules of our roles with the API server's audit log: none is a
// wildcard, and each verb of a rule was used on each of its resources. The test node keeps
// such a log; elsewhere it is where KUBENODE_STATE says.
func leastRights(c *cluster) {
	log, err := os.Open(nodeState() + "/log/audit.log")
	if err != nil {
		c.Skipf("SKIPPED: the cluster's audit log is not at hand: %v", err)
	}
	defer log.Close()
	used := map[string][]request{} // by service account
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r request
		if json.Unmarshal(lines.Bytes(), &r) != nil || r.Annotations["authorization.k8s.io/decision"] != "allow" {
			continue
		}
		if name := strings.Split(r.User.Username, ":"); len(name) == 4 && name[1] == "serviceaccount" {
			used[name[3]] = append(used[name[3]], r)
		}
	}
	if err := lines.Err(); err != nil {
		c.Fatal(err)
	}
	for _, role := range c.roles() {
		var requests []request
		for account, list := range used {
			// A role is its account's, or one of several; a replay's account has its own name.
			if strings.HasPrefix(role.Name, account) || strings.HasPrefix(account, role.Name) {
				requests = append(requests, list...)
			}
		}
		for _, rule := range role.Rules {
			c.judge(role, rule, requests)
		}
	}
}

// role is a Role or a ClusterRole of ours.
type role struct {
	Kind      string
	Name      string
	Namespace string
	Rules     []rbacv1.PolicyRule
}

func (c *cluster) roles() (ours []role) {
	c.Helper()
	var list struct {
		Items []struct {
			metav1.TypeMeta
			metav1.ObjectMeta `json:"metadata"`
			Rules             []rbacv1.PolicyRule
		}
	}
	if err := json.Unmarshal([]byte(c.kubectl("get", "clusterroles,roles", "-A", "-o", "json")), &list); err != nil {
		c.Fatal(err)
	}
	for _, i := range list.Items {
		if strings.HasPrefix(i.Name, "speedscale-") {
			ours = append(ours, role{i.Kind, i.Name, i.Namespace, i.Rules})
		}
	}
	if len(ours) < 3 {
		c.Fatalf("found only the roles %v", ours)
	}
	return ours
}

func (c *cluster) judge(role role, rule rbacv1.PolicyRule, used []request) {
	c.Helper()
	if slices.Contains(slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs), "*") {
		c.Errorf("%s %q has a wildcard: %v", role.Kind, role.Name, rule)
	}
	if slices.Equal(rule.Verbs, []string{"bind"}) { // it is asked for when a binding is made
		rule.Verbs, rule.Resources, rule.ResourceNames = []string{"create"}, []string{"rolebindings"}, nil
	}
	for _, verb := range rule.Verbs {
		for _, resource := range rule.Resources {
			if verb == "patch" && resource == "events" {
				continue // by which an event is counted up that happens again and again
			}
			if !slices.ContainsFunc(used, func(r request) bool { return r.does(verb) && r.isOn(role, rule, resource) }) {
				c.Errorf("%s %q: nobody used %s of %v/%s %v", role.Kind, role.Name, verb, rule.APIGroups, resource, rule.ResourceNames)
			}
		}
	}
}

// does says whether the request needs the verb. A server-side apply that makes an object
// needs create too; and a watch begins with a list where the API server is older.
func (r request) does(verb string) bool {
	return r.Verb == verb || verb == "create" && r.Verb == "patch" && r.ResponseStatus.Code == http.StatusCreated ||
		verb == "list" && r.Verb == "watch"
}

func (r request) isOn(role role, rule rbacv1.PolicyRule, resource string) bool {
	name, sub, _ := strings.Cut(resource, "/")
	return r.ObjectRef.Resource == name && r.ObjectRef.Subresource == sub &&
		slices.Contains(rule.APIGroups, r.ObjectRef.APIGroup) &&
		(role.Namespace == "" || role.Namespace == r.ObjectRef.Namespace) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, r.ObjectRef.Name))
}

// certificatesHealed: what somebody damaged is made anew, and webhooks go on working.
func certificatesHealed(c *cluster) {
	secrets := [][2]string{{"speedscale", "speedscale-webhook-certs"}, {"speedscale-demo", "catalog-certs"}}
	for _, s := range secrets {
		c.kubectl("-n", s[0], "patch", "secret", s[1], "--type=merge", "-p", `{"data":{"tls.crt":"ZGFtYWdlZA==","ca.crt":"ZGFtYWdlZA=="}}`)
	}
	c.killOperator()
	for _, s := range secrets {
		c.eventually(s[1]+" stays damaged", func() bool {
			return !strings.Contains(c.kubectl("-n", s[0], "get", "secret", s[1], "-o", "yaml"), "ZGFtYWdlZA==")
		})
	}
	c.rollout("speedscale", "deployment/speedscale-operator")
	c.namespace("healed")
	c.kubectl("-n", "healed", "create", "deployment", "x", "--image=x", "--replicas=0")
	c.eventually("the webhook does not answer", func() bool {
		// What is wrong is refused in the request that brings it, only.
		c.kubectl("-n", "healed", "annotate", "deployment", "x", "sidecar.speedscale.com/inject-")
		out, err := c.try("kubectl", "-n", "healed", "annotate", "deployment", "x", "sidecar.speedscale.com/inject=perhaps")
		return err != nil && strings.Contains(out, "sidecar.speedscale.com/inject")
	})
}

package kube

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// request is what the audit log has of one, as far as roles are about it.
type request struct {
	Verb string
	// ObjectRef is of audit.k8s.io/v1; Subresource stands apart from Resource.
	ObjectRef      struct{ Resource, Namespace, Name, APIGroup, Subresource string }
	ResponseStatus struct{ Code int }
	Annotations    map[string]string
}

// leastRights compares the rules of our roles with the API server's audit log: none is a
// wildcard, and each verb and each resource of a rule was used. The test node keeps
// such a log; elsewhere it is where KUBENODE_STATE says.
func leastRights(c *cluster) {
	state := os.Getenv("KUBENODE_STATE")
	if state == "" {
		state = "/var/lib/kubenode"
	}
	log, err := os.Open(state + "/log/audit.log")
	if err != nil {
		c.Skipf("SKIPPED: the cluster's audit log is not at hand: %v", err)
	}
	defer log.Close()
	// RBAC: allowed by RoleBinding "x/y" of Role "speedscale-operator" to ServiceAccount "z"
	by := regexp.MustCompile(`of (ClusterRole|Role) "([^"]+)"`)
	used := map[string][]request{} // by role
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r request
		if json.Unmarshal(lines.Bytes(), &r) != nil || r.Annotations["authorization.k8s.io/decision"] != "allow" {
			continue
		}
		if role := by.FindStringSubmatch(r.Annotations["authorization.k8s.io/reason"]); role != nil {
			used[role[2]] = append(used[role[2]], r)
		}
	}
	if err := lines.Err(); err != nil {
		c.Fatal(err)
	}
	for _, role := range c.roles() {
		for _, rule := range role.Rules {
			c.judge(role, rule, used[role.Name])
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
	for _, verb := range rule.Verbs {
		if !slices.ContainsFunc(used, func(r request) bool {
			return r.does(verb) && slices.ContainsFunc(rule.Resources, func(resource string) bool { return r.isOn(role, rule, resource) })
		}) {
			c.Errorf("%s %q: nobody used %s of %v/%v %v", role.Kind, role.Name, verb, rule.APIGroups, rule.Resources, rule.ResourceNames)
		}
	}
	for _, resource := range rule.Resources {
		if !slices.ContainsFunc(used, func(r request) bool {
			return r.isOn(role, rule, resource) && slices.ContainsFunc(rule.Verbs, r.does)
		}) {
			c.Errorf("%s %q: nobody used %v/%s %v", role.Kind, role.Name, rule.APIGroups, resource, rule.ResourceNames)
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

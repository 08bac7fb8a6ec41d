package install

import (
	"context"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Right is to make objects of a kind, in a namespace or, where that is "", everywhere.
type Right struct{ Namespace, Group, Resource string }

func (r Right) String() string {
	resource := r.Resource
	if r.Group != "" {
		resource += "." + r.Group
	}
	if r.Namespace != "" {
		return fmt.Sprintf("create %s in namespace %q", resource, r.Namespace)
	}
	return "create " + resource
}

// DeniedError says which rights are missing.
type DeniedError struct{ Missing []Right }

// Error names each.
func (e *DeniedError) Error() string {
	names := make([]string, len(e.Missing))
	for i, r := range e.Missing {
		names[i] = r.String()
	}
	return "you may not " + strings.Join(names, ", ")
}

// MissingRights asks the API server for each right that an installation needs, and
// returns those that the user does not have.
func MissingRights(ctx context.Context, c kubernetes.Interface, o Options) (lacking []Right, err error) {
	for _, right := range needed(o) {
		answer, err := c.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: right.Namespace, Verb: "create", Group: right.Group, Resource: right.Resource,
			}},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("rights: %w", err)
		}
		if !answer.Status.Allowed {
			lacking = append(lacking, right)
		}
	}
	return lacking, nil
}

// needed are the rights that matter: who has these has those that go with them.
func needed(o Options) []Right {
	rights := []Right{
		{"", "", "namespaces"},
		{"", "apiextensions.k8s.io", "customresourcedefinitions"},
		{"", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"},
		{"", "rbac.authorization.k8s.io", "clusterroles"},
		{"", "rbac.authorization.k8s.io", "clusterrolebindings"},
		{o.Namespace, "apps", "deployments"},
		{o.Namespace, "", "secrets"},
		{o.Namespace, "", "services"},
	}
	if o.AppURL == "" {
		rights = append(rights, Right{o.CloudNamespace, "apps", "statefulsets"}, Right{o.CloudNamespace, "", "secrets"}, Right{o.CloudNamespace, "", "services"})
	}
	return rights
}

// allowed says which rights are missing. A namespace that is there has been made by
// somebody who had the right to.
func (o *Options) allowed(ctx context.Context, c kubernetes.Interface) error {
	missing, err := MissingRights(ctx, c, *o)
	if err != nil {
		return err
	}
	if len(missing) > 0 && missing[0].Resource == "namespaces" && o.namespacesThere(ctx, c) {
		missing = missing[1:]
	}
	if len(missing) > 0 {
		return &DeniedError{Missing: missing}
	}
	return nil
}

func (o *Options) namespacesThere(ctx context.Context, c kubernetes.Interface) bool {
	names := []string{o.Namespace}
	if o.AppURL == "" {
		names = append(names, o.CloudNamespace)
	}
	for _, name := range names {
		if _, err := c.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{}); err != nil {
			return false
		}
	}
	return true
}

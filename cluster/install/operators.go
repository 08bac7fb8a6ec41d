package install

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// byOperator selects the chart's own objects.
const byOperator = "app.kubernetes.io/name=" + Operator

// Several says how to get from several operators to one. Uninstalling one would take the roles
// and webhooks away that they share.
const Several = "kubectl delete namespace removes one, with all else in its namespace; speedctl upgrade -n NAMESPACE then gives the other what they share"

// Operators returns the namespaces that have an operator, in order. One that is being
// deleted does not count.
func Operators(ctx context.Context, c kubernetes.Interface) (namespaces []string, err error) {
	list, err := c.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: byOperator})
	if err != nil {
		return nil, fmt.Errorf("operators: %w", err)
	}
	for _, d := range list.Items {
		if d.DeletionTimestamp == nil {
			namespaces = append(namespaces, d.Namespace)
		}
	}
	slices.Sort(namespaces)
	return slices.Compact(namespaces), nil
}

// removable says that the operator's namespace has one that is of no release of speedctl's:
// of one of another name, or applied by kubectl.
func (o *Options) removable(ctx context.Context, c kubernetes.Interface) error {
	operators, err := Operators(ctx, c)
	if err == nil && slices.Contains(operators, o.Namespace) {
		err = foreign("operator", o.Namespace, Operator)
	}
	return err
}

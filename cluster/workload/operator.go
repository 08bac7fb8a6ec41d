package workload

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// Replaceable refuses a workload whose pods stay as they are, whatever becomes of its
// annotations.
func (r Ref) Replaceable() error {
	if r.Kind == Job {
		return fmt.Errorf("%s: the pods of a Job are not replaced: give its manifest the annotations", r)
	}
	return nil
}

// Foreign refuses settings that leave a workload to another operator than those with
// these names.
func Foreign(r Ref, s annotation.Sidecar, operators ...string) error {
	if s.ManagedBy == "" || slices.Contains(operators, s.ManagedBy) {
		return nil
	}
	return fmt.Errorf("%s has the annotation %s=%q, by which it is left to that operator, and here is %s: take the annotation away, or have it name one that is here",
		r, annotation.ManagedBy, s.ManagedBy, cmp.Or(strings.Join(operators, ", "), "none"))
}

// operatorLabel is on the ConfigMaps of an operator, one of which has its settings.
const operatorLabel = "controlplane.speedscale.com/component=operator"

// foreign is Foreign for the operators of the cluster. Who may not read their settings
// learns from the wait for the operator that none has taken the workload up.
func foreign(ctx context.Context, c kubernetes.Interface, r Ref, s annotation.Sidecar) error {
	if s.ManagedBy == "" {
		return nil
	}
	list, err := c.CoreV1().ConfigMaps(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: operatorLabel})
	if apierrors.IsForbidden(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("settings of the operators: %w", err)
	}
	var names []string
	for _, m := range list.Items {
		if name := cmp.Or(m.Data["INSTANCE_ID"], m.Data["CLUSTER_NAME"]); name != "" {
			names = append(names, name)
		}
	}
	return Foreign(r, s, names...)
}

package workload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/inject"
)

// refusal is an error about a workload that the operator would leave as it is.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// Refuse makes an error of which IsRefused is true.
func Refuse(format string, args ...any) error { return refusal{fmt.Errorf(format, args...)} }

// IsRefused says that an error is about a workload that cannot have a sidecar, or whose
// annotations the operator would do nothing about.
func IsRefused(err error) bool {
	_, pods := errors.AsType[*inject.Refused](err)
	_, workload := errors.AsType[refusal](err)
	return pods || workload
}

// Replaceable refuses a workload whose pods stay as they are, whatever becomes of its
// annotations.
func (r Ref) Replaceable() error {
	if r.Kind == Job {
		return Refuse("%s: the pods of a Job are not replaced: give its manifest the annotations", r)
	}
	return nil
}

// Foreign refuses settings that leave a workload to another operator than those with
// these names.
func Foreign(r Ref, s annotation.Sidecar, operators ...string) error {
	if s.ManagedBy == "" || slices.Contains(operators, s.ManagedBy) {
		return nil
	}
	return Refuse("%s has the annotation %s=%q, by which it is left to that operator, and here is %s: take the annotation away, or have it name one that is here",
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

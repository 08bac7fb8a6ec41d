// Package workload finds the workloads that people name, asks for sidecars in their
// pods, and waits until the pods are there.
package workload

import (
	"fmt"
	"strings"

	"github.com/speedscale/speedscale/cluster/argo"
)

// The kinds of workloads.
const (
	Deployment  = "Deployment"
	StatefulSet = "StatefulSet"
	DaemonSet   = "DaemonSet"
	CronJob     = "CronJob"
	Job         = "Job"
	ArgoRollout = argo.Kind
)

// Ref names a workload.
type Ref struct{ Kind, Namespace, Name string }

// String returns the workload as messages name it: deployment shop/checkout.
func (r Ref) String() string {
	return strings.ToLower(r.Kind) + " " + r.Namespace + "/" + r.Name
}

// APIVersion is the group and version of a kind of workload, as group/version.
func APIVersion(kind string) string {
	switch kind {
	case CronJob, Job:
		return "batch/v1"
	case ArgoRollout:
		return argo.APIVersion
	}
	return "apps/v1"
}

// ParseRef reads KIND/NAME as kubectl does, such as deployment/checkout or sts/cart,
// of a workload in the namespace.
func ParseRef(text, namespace string) (Ref, error) {
	kind, name, ok := strings.Cut(text, "/")
	if !ok || name == "" || strings.Contains(name, "/") {
		return Ref{}, fmt.Errorf("workload %q: want KIND/NAME, such as deployment/checkout", text)
	}
	r := Ref{Namespace: namespace, Name: name}
	switch strings.ToLower(kind) {
	case "deployment", "deployments", "deployment.apps", "deployments.apps", "deploy":
		r.Kind = Deployment
	case "statefulset", "statefulsets", "statefulset.apps", "statefulsets.apps", "sts":
		r.Kind = StatefulSet
	case "daemonset", "daemonsets", "daemonset.apps", "daemonsets.apps", "ds":
		r.Kind = DaemonSet
	case "cronjob", "cronjobs", "cronjob.batch", "cronjobs.batch", "cj":
		r.Kind = CronJob
	case "job", "jobs", "job.batch", "jobs.batch":
		r.Kind = Job
	case "rollout", "rollouts", "rollout.argoproj.io", "rollouts.argoproj.io", "ro", "argorollout":
		r.Kind = ArgoRollout
	default:
		return Ref{}, fmt.Errorf("workload %q: kind %q: want deployment, statefulset, daemonset, cronjob, job or rollout", text, kind)
	}
	return r, nil
}

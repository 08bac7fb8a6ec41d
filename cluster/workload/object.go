package workload

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Of returns what the kinds have in common of an object that was read otherwise; ok is
// false where it is no workload.
func Of(object runtime.Object) (w *Workload, ok bool) {
	switch o := object.(type) {
	case *appsv1.Deployment:
		return fromDeployment(o), true
	case *appsv1.StatefulSet:
		return fromStatefulSet(o), true
	case *appsv1.DaemonSet:
		return fromDaemonSet(o), true
	case *batchv1.CronJob:
		return fromCronJob(o), true
	case *batchv1.Job:
		return fromJob(o), true
	case *unstructured.Unstructured:
		w, err := fromManifest(*o)
		return w, w != nil && err == nil
	}
	return nil, false
}

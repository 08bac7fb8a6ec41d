package controller

import (
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/argo"
	"github.com/speedscale/speedscale/cluster/inject"
	"github.com/speedscale/speedscale/cluster/workload"
)

// kind is one of the kinds of workloads that are looked after.
type kind struct {
	name     string
	new      func() client.Object
	list     func() client.ObjectList
	describe func(client.Object) (description, error)
}

// description is what a workload's own object says.
type description struct {
	template *corev1.PodTemplateSpec
	// templatePath is where a patch has the template.
	templatePath []string
	// pods selects its pods, and maybe some of others.
	pods labels.Selector
	// held, missing and fixed are as in Injection.
	held           string
	missing, fixed bool
	// want is how many pods there should be where they stay, and 0 where they end by
	// themselves.
	want int32
	// complete says that all of them were there once with the template as it is, where the
	// object itself says it.
	complete bool
	// failure is why the API server refused pods, where the object itself says it;
	// makers are the objects of whose events that is read otherwise.
	failure string
	makers  []types.UID
	// elsewhere says whose template its pods are of, "" where it is its own.
	elsewhere string
	// leave says that there is nothing to look after: it makes no pods any more, or
	// another workload wrote its template.
	leave bool
}

func kinds() []kind {
	return []kind{
		{"Deployment", func() client.Object { return &appsv1.Deployment{} }, func() client.ObjectList { return &appsv1.DeploymentList{} }, deployment},
		{"StatefulSet", func() client.Object { return &appsv1.StatefulSet{} }, func() client.ObjectList { return &appsv1.StatefulSetList{} }, statefulSet},
		{"DaemonSet", func() client.Object { return &appsv1.DaemonSet{} }, func() client.ObjectList { return &appsv1.DaemonSetList{} }, daemonSet},
		{"CronJob", func() client.Object { return &batchv1.CronJob{} }, func() client.ObjectList { return &batchv1.CronJobList{} }, cronJob},
		{"Job", func() client.Object { return &batchv1.Job{} }, func() client.ObjectList { return &batchv1.JobList{} }, job},
		{argo.Kind, func() client.Object { return argo.New() }, func() client.ObjectList { return argo.NewList() }, rollout},
	}
}

func deployment(o client.Object) (description, error) {
	w := o.(*appsv1.Deployment)
	d := description{template: &w.Spec.Template, templatePath: []string{"spec", "template"}}
	if w.Spec.Paused {
		d.held = "its rollout is paused"
	}
	d.count(w.Generation, w.Status.ObservedGeneration, replicas(w.Spec.Replicas), w.Status.Replicas, w.Status.UpdatedReplicas)
	// A condition is of the template that the controller has seen.
	if w.Status.ObservedGeneration >= w.Generation {
		for _, c := range w.Status.Conditions {
			if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
				d.failure = refusal(c.Message)
			}
			d.complete = d.complete || c.Type == appsv1.DeploymentProgressing && c.Reason == rolledOut && w.Status.UpdatedReplicas == w.Status.Replicas
		}
	}
	return d.selecting(w.Spec.Selector)
}

// rolledOut is why a Deployment makes no progress any more, though it may be scaled since
// (k8s.io/kubernetes/pkg/controller/deployment/util).
const rolledOut = "NewReplicaSetAvailable"

func statefulSet(o client.Object) (description, error) {
	w := o.(*appsv1.StatefulSet)
	d := description{template: &w.Spec.Template, templatePath: []string{"spec", "template"}, makers: []types.UID{w.UID}}
	switch update := w.Spec.UpdateStrategy; {
	case update.Type == appsv1.OnDeleteStatefulSetStrategyType:
		d.held = "its update strategy is OnDelete"
	case update.RollingUpdate != nil && update.RollingUpdate.Partition != nil && *update.RollingUpdate.Partition > 0:
		d.held = fmt.Sprintf("its update strategy keeps pods below the partition %d", *update.RollingUpdate.Partition)
	}
	d.count(w.Generation, w.Status.ObservedGeneration, replicas(w.Spec.Replicas), w.Status.Replicas, w.Status.UpdatedReplicas)
	return d.selecting(w.Spec.Selector)
}

func daemonSet(o client.Object) (description, error) {
	w := o.(*appsv1.DaemonSet)
	d := description{template: &w.Spec.Template, templatePath: []string{"spec", "template"}, makers: []types.UID{w.UID}}
	if w.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		d.held = "its update strategy is OnDelete"
	}
	d.count(w.Generation, w.Status.ObservedGeneration, w.Status.DesiredNumberScheduled, w.Status.CurrentNumberScheduled, w.Status.UpdatedNumberScheduled)
	return d.selecting(w.Spec.Selector)
}

func rollout(o client.Object) (description, error) {
	w, err := argo.Parse(o.(*unstructured.Unstructured))
	if err != nil {
		return description{}, err
	}
	d := description{template: &w.Spec.Template, templatePath: []string{"spec", "template"}, held: w.Held(), failure: refusal(w.Refused())}
	if ref := w.Spec.WorkloadRef; ref != nil {
		d.elsewhere = ref.Reason()
		return d.selecting(nil)
	}
	d.count(0, 0, w.Replicas(), w.Status.Replicas, w.Status.UpdatedReplicas)
	d.missing = d.missing || !w.Seen()
	return d.selecting(w.Spec.Selector)
}

// cronJob: its Jobs have the template that it had when they began, and their pods are
// told by their stamp.
func cronJob(o client.Object) (description, error) {
	w := o.(*batchv1.CronJob)
	d := description{
		template: &w.Spec.JobTemplate.Spec.Template, templatePath: []string{"spec", "jobTemplate", "spec", "template"},
		held: "the pods of a Job are not made anew; those of the next one have it", missing: len(w.Status.Active) > 0,
	}
	for _, job := range w.Status.Active {
		d.makers = append(d.makers, job.UID)
	}
	return d.selecting(&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: batchv1.JobNameLabel, Operator: metav1.LabelSelectorOpExists},
	}})
}

// job: its pods are injected by the stamp that its template began with.
func job(o client.Object) (description, error) {
	w := o.(*batchv1.Job)
	owner := metav1.GetControllerOf(w)
	d := description{
		template: &w.Spec.Template, fixed: true, held: "the pods of a Job are not made anew", makers: []types.UID{w.UID},
		leave: owner != nil && owner.Kind == "CronJob",
	}
	for _, c := range w.Status.Conditions {
		d.leave = d.leave || c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed)
	}
	want := replicas(w.Spec.Parallelism)
	if all := w.Spec.Completions; all != nil {
		want = min(want, *all-w.Status.Succeeded)
	}
	d.missing = w.Status.Active < want && (w.Spec.Suspend == nil || !*w.Spec.Suspend)
	return d.selecting(w.Spec.Selector)
}

// count notes how many pods are wanted, and whether there are fewer of them, or fewer of
// the template as it is, where pods are made anew for that. What the controller has not
// seen yet is not done.
func (d *description) count(generation, observed int64, want, have, updated int32) {
	d.want = want
	d.missing = observed < generation || have < want || d.held == "" && updated < want
}

func (d description) selecting(s *metav1.LabelSelector) (description, error) {
	var err error
	d.pods, err = metav1.LabelSelectorAsSelector(s)
	return d, err
}

func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

// injected returns the pods of a workload's template that are not going away. certificate is
// the forwarder's, "" where it is not known.
func injected(pods []metav1.PartialObjectMetadata, certificate string) (found []InjectedPod) {
	for _, p := range pods {
		if p.DeletionTimestamp != nil || p.Annotations[annotation.Stamp] == "" {
			continue
		}
		trusts, carries := p.Annotations[annotation.ForwarderCA]
		found = append(found, InjectedPod{
			Untrusting: carries && certificate != "" && trusts != certificate,
			Stamp:      p.Annotations[annotation.Stamp], Injected: p.Labels[annotation.Injected] == "true", Refused: p.Annotations[annotation.Refused],
		})
	}
	return found
}

// grown says that all pods are of a stamp and injected, and were there at a moment.
func grown(pods []metav1.PartialObjectMetadata, stamp string, at time.Time) bool {
	for _, p := range pods {
		if p.DeletionTimestamp == nil && (p.Annotations[annotation.Stamp] != stamp || p.Labels[annotation.Injected] != "true" || p.CreationTimestamp.After(at)) {
			return false
		}
	}
	return len(pods) > 0
}

// templateChange is a patch by which the template gets an annotation; nil takes it away.
func (d description) templateChange(key string, value any) map[string]any {
	change := map[string]any{"metadata": map[string]any{"annotations": map[string]any{key: value}}}
	for _, field := range slices.Backward(d.templatePath) {
		change = map[string]any{field: change}
	}
	return change
}

// refusal returns a message of the API server about a pod where that may be because of
// the sidecar, and "" where it is not. A pod whose service account or priority class is
// not there yet, or that cannot be made for a while, would not be made without one either.
// What our own webhook denies it takes a little later.
func refusal(message string) string {
	for _, text := range []string{
		ownWebhook,
		"error looking up service account", "no PriorityClass with name", "RuntimeClass",
		"because it is being terminated",                              // of its namespace
		"cannot create resource",                                      // of the controller's rights
		"status unknown for quota", "not yet ready to handle request", // of admission that has just started
		`is forbidden: Post "`, // of a backend that is away
	} {
		if strings.Contains(message, text) {
			return ""
		}
	}
	for _, text := range []string{
		inject.Goproxy, inject.Initproxy, // containers and volumes of ours
		"speedscale-ca", "speedscale-trust",
		"is forbidden",                         // of Pod Security, ResourceQuota, LimitRange, OpenShift's constraints, ImagePolicyWebhook
		"denied the request", "denied request", // of a policy engine
		"is invalid",
	} {
		if strings.Contains(message, text) {
			return message
		}
	}
	return ""
}

// ownWebhook is in what the API server says where the operator itself denied a pod.
const ownWebhook = `sidecar.speedscale.com" denied the request`

// failedCreate is the reason of the events by which controllers tell that a pod was
// refused (k8s.io/kubernetes/pkg/controller).
const failedCreate = "FailedCreate"

// newest is the newest refusal in events since a moment, "" where there is none.
func newest(events []corev1.Event, since time.Time) string {
	var last corev1.Event
	var at time.Time
	for _, e := range events {
		if t := workload.EventTime(e); e.Reason == failedCreate && refusal(e.Message) != "" && !t.Before(since) && !t.Before(at) {
			last, at = e, t
		}
	}
	return last.Message
}

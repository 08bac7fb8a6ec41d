package workload

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/argo"
)

// fieldManager owns the annotations that are written here.
const fieldManager = "speedctl"

// Workload is what the kinds have in common.
type Workload struct {
	Ref
	// Annotations are the object's own; those of its pods are in Template.
	Annotations map[string]string
	Template    corev1.PodTemplateSpec
	// Selector finds its pods; nil for a CronJob, whose pods belong to its Jobs.
	Selector *metav1.LabelSelector
	// Scale is how many pods it wants, and Counts how many it has.
	Scale  int32
	Counts Counts
	// Held says why its pods are not replaced when its template changes: it is
	// paused, or only does so when a pod is deleted. "" where they are.
	Held string
	// Elsewhere is the object whose template its pods are of, nil where it is its own.
	Elsewhere *argo.WorkloadRef
	// Failing is why its controller cannot make pods or go on; "" where it can.
	Failing string
}

// Counts are pods by state, as the workload's controller has last seen them.
type Counts struct {
	// Seen says that the controller has seen the newest template.
	Seen bool
	// All exist, Updated of them with the newest template, and Ready are ready.
	All, Updated, Ready int32
}

// Get returns a workload. Its error names it.
func Get(ctx context.Context, c kubernetes.Interface, r Ref) (*Workload, error) {
	w, err := get(ctx, c, r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r, err)
	}
	return w, nil
}

func get(ctx context.Context, c kubernetes.Interface, r Ref) (*Workload, error) {
	var o metav1.GetOptions
	switch r.Kind {
	case Deployment:
		d, err := c.AppsV1().Deployments(r.Namespace).Get(ctx, r.Name, o)
		return convert(d, err, fromDeployment)
	case StatefulSet:
		s, err := c.AppsV1().StatefulSets(r.Namespace).Get(ctx, r.Name, o)
		return convert(s, err, fromStatefulSet)
	case DaemonSet:
		d, err := c.AppsV1().DaemonSets(r.Namespace).Get(ctx, r.Name, o)
		return convert(d, err, fromDaemonSet)
	case CronJob:
		j, err := c.BatchV1().CronJobs(r.Namespace).Get(ctx, r.Name, o)
		return convert(j, err, fromCronJob)
	case Job:
		j, err := c.BatchV1().Jobs(r.Namespace).Get(ctx, r.Name, o)
		return convert(j, err, fromJob)
	case ArgoRollout:
		return getRollout(ctx, c, r)
	}
	return nil, fmt.Errorf("kind %q is no workload", r.Kind)
}

func convert[T any](object *T, err error, from func(*T) *Workload) (*Workload, error) {
	if err != nil {
		return nil, err
	}
	return from(object), nil
}

// List returns the Deployments, StatefulSets, DaemonSets, CronJobs and Rollouts of a
// namespace, "" for all of them, in the order of namespace, kind and name.
func List(ctx context.Context, c kubernetes.Interface, namespace string) ([]*Workload, error) {
	var found []*Workload
	var o metav1.ListOptions
	deployments, err := c.AppsV1().Deployments(namespace).List(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("deployments: %w", err)
	}
	for i := range deployments.Items {
		found = append(found, fromDeployment(&deployments.Items[i]))
	}
	statefulsets, err := c.AppsV1().StatefulSets(namespace).List(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("statefulsets: %w", err)
	}
	for i := range statefulsets.Items {
		found = append(found, fromStatefulSet(&statefulsets.Items[i]))
	}
	daemonsets, err := c.AppsV1().DaemonSets(namespace).List(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("daemonsets: %w", err)
	}
	for i := range daemonsets.Items {
		found = append(found, fromDaemonSet(&daemonsets.Items[i]))
	}
	cronjobs, err := c.BatchV1().CronJobs(namespace).List(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("cronjobs: %w", err)
	}
	for i := range cronjobs.Items {
		found = append(found, fromCronJob(&cronjobs.Items[i]))
	}
	rollouts, err := listRollouts(ctx, c, namespace)
	if err != nil {
		return nil, fmt.Errorf("rollouts: %w", err)
	}
	found = append(found, rollouts...)
	slices.SortFunc(found, func(a, b *Workload) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return found, nil
}

// Pods returns a workload's pods, without those that are going away.
func Pods(ctx context.Context, c kubernetes.Interface, w *Workload) ([]corev1.Pod, error) {
	if w.Selector == nil {
		return nil, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(w.Selector)
	if err != nil {
		return nil, fmt.Errorf("pods of %s: %w", w.Ref, err)
	}
	list, err := c.CoreV1().Pods(w.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return nil, fmt.Errorf("pods of %s: %w", w.Ref, err)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil }), nil
}

// Annotate changes annotations of a workload; nil takes one away. Its error names the
// workload.
func Annotate(ctx context.Context, c kubernetes.Interface, r Ref, changes map[string]*string) error {
	return annotate(ctx, c, r, changes)
}

// AnnotateAll makes changes of several workloads. Where one of them is denied or refused,
// it says so before any is made.
func AnnotateAll(ctx context.Context, c kubernetes.Interface, changes []Change) error {
	var errs []error
	for _, change := range changes {
		errs = append(errs, annotate(ctx, c, change.Ref, change.Annotations, metav1.DryRunAll))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, change := range changes {
		if err := annotate(ctx, c, change.Ref, change.Annotations); err != nil {
			return err
		}
	}
	return nil
}

func annotate(ctx context.Context, c kubernetes.Interface, r Ref, changes map[string]*string, dryRun ...string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": changes}})
	if err != nil {
		return err
	}
	if err := apply(ctx, c, r, patch, dryRun...); err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	return nil
}

// AnnotatePods changes annotations of a workload's pod template, which replaces its
// pods; nil takes one away.
func AnnotatePods(ctx context.Context, c kubernetes.Interface, r Ref, changes map[string]*string) error {
	spec := map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": changes}}}
	if r.Kind == CronJob {
		spec = map[string]any{"jobTemplate": map[string]any{"spec": spec}}
	}
	patch, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return err
	}
	if err := apply(ctx, c, r, patch); err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	return nil
}

func apply(ctx context.Context, c kubernetes.Interface, r Ref, patch []byte, dryRun ...string) (err error) {
	o := metav1.PatchOptions{FieldManager: fieldManager, DryRun: dryRun}
	switch r.Kind {
	case Deployment:
		_, err = c.AppsV1().Deployments(r.Namespace).Patch(ctx, r.Name, types.MergePatchType, patch, o)
	case StatefulSet:
		_, err = c.AppsV1().StatefulSets(r.Namespace).Patch(ctx, r.Name, types.MergePatchType, patch, o)
	case DaemonSet:
		_, err = c.AppsV1().DaemonSets(r.Namespace).Patch(ctx, r.Name, types.MergePatchType, patch, o)
	case CronJob:
		_, err = c.BatchV1().CronJobs(r.Namespace).Patch(ctx, r.Name, types.MergePatchType, patch, o)
	case Job:
		_, err = c.BatchV1().Jobs(r.Namespace).Patch(ctx, r.Name, types.MergePatchType, patch, o)
	case ArgoRollout:
		err = patchRollout(ctx, c, r, patch, o)
	default:
		err = fmt.Errorf("kind %q is no workload", r.Kind)
	}
	return err
}

func fromDeployment(d *appsv1.Deployment) *Workload {
	w := &Workload{
		Ref: Ref{Deployment, d.Namespace, d.Name}, Annotations: d.Annotations, Template: d.Spec.Template, Selector: d.Spec.Selector,
		Scale:  replicas(d.Spec.Replicas),
		Counts: Counts{d.Status.ObservedGeneration >= d.Generation, d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.ReadyReplicas},
	}
	if d.Spec.Paused {
		w.Held = "it is paused (kubectl rollout resume goes on)"
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue ||
			c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse && c.Reason != "DeploymentPaused" {
			w.Failing = cmp.Or(w.Failing, c.Message)
		}
	}
	return w
}

func fromStatefulSet(s *appsv1.StatefulSet) *Workload {
	w := &Workload{
		Ref: Ref{StatefulSet, s.Namespace, s.Name}, Annotations: s.Annotations, Template: s.Spec.Template, Selector: s.Spec.Selector,
		Scale:  replicas(s.Spec.Replicas),
		Counts: Counts{s.Status.ObservedGeneration >= s.Generation, s.Status.Replicas, s.Status.UpdatedReplicas, s.Status.ReadyReplicas},
	}
	rolling := s.Spec.UpdateStrategy.RollingUpdate
	switch {
	case s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType:
		w.Held = "its update strategy is OnDelete: its pods are replaced when they are deleted"
	case rolling != nil && rolling.Partition != nil && *rolling.Partition > 0:
		w.Held = fmt.Sprintf("its update strategy replaces no pods below the partition %d", *rolling.Partition)
	}
	return w
}

func fromDaemonSet(d *appsv1.DaemonSet) *Workload {
	w := &Workload{
		Ref: Ref{DaemonSet, d.Namespace, d.Name}, Annotations: d.Annotations, Template: d.Spec.Template, Selector: d.Spec.Selector,
		Scale:  d.Status.DesiredNumberScheduled,
		Counts: Counts{d.Status.ObservedGeneration >= d.Generation, d.Status.CurrentNumberScheduled, d.Status.UpdatedNumberScheduled, d.Status.NumberReady},
	}
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		w.Held = "its update strategy is OnDelete: its pods are replaced when they are deleted"
	}
	return w
}

func fromCronJob(j *batchv1.CronJob) *Workload {
	return &Workload{
		Ref: Ref{CronJob, j.Namespace, j.Name}, Annotations: j.Annotations, Template: j.Spec.JobTemplate.Spec.Template,
		Held: "its next run has new pods",
	}
}

func fromJob(j *batchv1.Job) *Workload {
	return &Workload{
		Ref: Ref{Job, j.Namespace, j.Name}, Annotations: j.Annotations, Template: j.Spec.Template, Selector: j.Spec.Selector,
		Held: "the pods of a Job are not replaced",
	}
}

// fromPod is a pod as the workload that it is by itself.
func fromPod(p *corev1.Pod) *Workload {
	return &Workload{
		Ref: Ref{"Pod", p.Namespace, p.Name}, Annotations: p.Annotations,
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.Labels, Annotations: p.Annotations}, Spec: p.Spec},
	}
}

func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

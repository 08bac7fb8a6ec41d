package workload_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/inject"
	"github.com/speedscale/speedscale/cluster/stamp"
	"github.com/speedscale/speedscale/cluster/workload"
)

func TestParseRef(t *testing.T) {
	for text, kind := range map[string]string{
		"deployment/x": "Deployment", "deploy/x": "Deployment", "Deployments.apps/x": "Deployment", "sts/x": "StatefulSet",
		"ds/x": "DaemonSet", "cronjob/x": "CronJob", "job/x": "Job",
		"ro/x": "Rollout", "rollout/x": "Rollout", "Rollouts.argoproj.io/x": "Rollout", "argorollout/x": "Rollout",
	} {
		r, err := workload.ParseRef(text, "shop")
		if want := (workload.Ref{Kind: kind, Namespace: "shop", Name: "x"}); err != nil || r != want {
			t.Errorf("%s: %v (%v), want %v", text, r, err, want)
		}
	}
	for _, text := range []string{"", "x", "deployment/", "/x", "pod/x", "deployment/x/y", "replicaset/x"} {
		if r, err := workload.ParseRef(text, "shop"); err == nil || !strings.Contains(err.Error(), `workload "`+text+`"`) {
			t.Errorf("%q is %v (%v)", text, r, err)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	f.Add("deployment/x")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := workload.ParseRef(text, "shop")
		if err == nil && (r.Kind == "" || r.Name == "" || !strings.HasSuffix(text, "/"+r.Name)) {
			t.Errorf("%q is %+v", text, r)
		}
	})
}

// shop is a Deployment whose rollout is done.
func shop() *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart", Generation: 2, Annotations: map[string]string{"team": "a"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "cart"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "cart"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "cart", Ports: []corev1.ContainerPort{{ContainerPort: 8080}}}}},
			},
		},
		Status: appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 2, UpdatedReplicas: 2, ReadyReplicas: 2},
	}
}

func get(t *testing.T, d *appsv1.Deployment) *workload.Workload {
	t.Helper()
	w, err := workload.Get(t.Context(), fake.NewClientset(d), workload.Ref{Kind: workload.Deployment, Namespace: d.Namespace, Name: d.Name})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestRollout(t *testing.T) {
	waiting := func(reason, message string) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "cart-1"}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
			{Name: "cart", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
				LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error"}}},
		}}}
	}
	unscheduled := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "cart-1"}, Status: corev1.PodStatus{Conditions: []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/1 nodes are available"}}}}
	for name, c := range map[string]struct {
		change  func(*appsv1.Deployment)
		pods    []corev1.Pod
		done    bool
		problem string
	}{
		"done":            {func(*appsv1.Deployment) {}, nil, true, ""},
		"not seen yet":    {func(d *appsv1.Deployment) { d.Generation = 3 }, nil, false, ""},
		"old pods":        {func(d *appsv1.Deployment) { d.Status.Replicas = 3 }, nil, false, ""},
		"not all are new": {func(d *appsv1.Deployment) { d.Status.UpdatedReplicas = 1 }, nil, false, ""},
		"scaled to none": {func(d *appsv1.Deployment) {
			d.Spec.Replicas, d.Status = new(int32(0)), appsv1.DeploymentStatus{ObservedGeneration: 2}
		}, nil, true, ""},
		"paused":        {func(d *appsv1.Deployment) { d.Spec.Paused, d.Status.UpdatedReplicas = true, 0 }, nil, true, ""},
		"not scheduled": {func(d *appsv1.Deployment) { d.Status.ReadyReplicas = 1 }, []corev1.Pod{unscheduled}, false, `pod "cart-1": it is not scheduled: 0/1 nodes are available`},
		"image":         {func(d *appsv1.Deployment) { d.Status.ReadyReplicas = 1 }, []corev1.Pod{waiting("ImagePullBackOff", "no such image")}, false, `pod "cart-1": container "cart": ImagePullBackOff: no such image, after it ended with 1 (Error)`},
		"no pods are made": {func(d *appsv1.Deployment) {
			d.Status.ReadyReplicas, d.Status.Conditions = 1, []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "exceeded quota"}}
		}, nil, false, "exceeded quota"},
	} {
		t.Run(name, func(t *testing.T) {
			d := shop()
			c.change(d)
			s := workload.Rollout(get(t, d), c.pods)
			if s.Done != c.done || strings.Join(s.Problems, "\n") != c.problem {
				t.Errorf("%+v, want done %v and problem %q", s, c.done, c.problem)
			}
		})
	}
}

func TestWaitNamesWhatKeepsPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := shop()
		d.Status.UpdatedReplicas = 1
		c := fake.NewClientset(d)
		_, err := workload.Wait(t.Context(), c, workload.Ref{Kind: workload.Deployment, Namespace: "shop", Name: "cart"}, 30*time.Second, nil)
		if err == nil || err.Error() != "deployment shop/cart is not rolled out after 30s: 1 of 2 pods are new, 2 ready" {
			t.Errorf("got %v", err)
		}
		_, err = workload.Wait(t.Context(), c, workload.Ref{Kind: workload.StatefulSet, Namespace: "shop", Name: "cart"}, 30*time.Second, nil)
		if err == nil || !strings.Contains(err.Error(), "statefulset shop/cart") {
			t.Errorf("a workload that is not there: %v", err)
		}
	})
}

func TestInjectionIsWaitedFor(t *testing.T) {
	pod := func(name string, injected bool, refused string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"app": "cart"}}}
		if injected {
			p.Labels[annotation.Injected] = "true"
			p.Spec.Containers = []corev1.Container{{Name: inject.Goproxy}}
		}
		if refused != "" {
			p.Annotations = map[string]string{annotation.Refused: refused}
		}
		return p
	}
	ref := workload.Ref{Kind: workload.Deployment, Namespace: "shop", Name: "cart"}
	for name, c := range map[string]struct {
		stamp bool
		pods  []*corev1.Pod
		want  string
	}{
		"all have it":  {true, []*corev1.Pod{pod("a", true, ""), pod("b", true, "")}, ""},
		"no operator":  {false, nil, workload.ErrNoStamp.Error()},
		"another's":    {false, nil, `managed-by, only the operator "blue" does`},
		"one refused":  {true, []*corev1.Pod{pod("a", true, ""), pod("b", false, "it runs on Windows")}, "it runs on Windows"},
		"one has none": {true, []*corev1.Pod{pod("a", true, ""), pod("b", false, "")}, "1 of 2 pods have no sidecar"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := shop()
				if name == "another's" {
					d.Annotations[annotation.ManagedBy] = "blue"
				}
				if c.stamp {
					d.Spec.Template.Annotations = map[string]string{annotation.Stamp: "{}"}
				}
				client := fake.NewClientset(d)
				for _, p := range c.pods {
					if err := client.Tracker().Add(p); err != nil {
						t.Fatal(err)
					}
				}
				_, err := workload.WaitInjected(t.Context(), client, ref, time.Minute, nil)
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("got %v, want %q", err, c.want)
				}
			})
		})
	}
}

// TestInjectionWithSilentAPIServer: a server that answers nothing has not said that the operator did nothing.
func TestInjectionWithSilentAPIServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fake.NewClientset()
		c.PrependReactor("get", "deployments", func(clienttesting.Action) (bool, runtime.Object, error) {
			time.Sleep(time.Minute)
			return true, nil, context.DeadlineExceeded
		})
		_, err := workload.WaitInjected(t.Context(), c, workload.Ref{Kind: workload.Deployment, Namespace: "shop", Name: "cart"}, time.Minute, nil)
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, workload.ErrNoStamp) {
			t.Error(err)
		}
	})
}

// TestWorkloadOfAnOperatorThatIsNotThereIsNotAnnotated: nobody would take its annotations up.
func TestWorkloadOfAnOperatorThatIsNotThereIsNotAnnotated(t *testing.T) {
	settings := func(namespace, name string, data map[string]string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, Labels: map[string]string{"controlplane.speedscale.com/component": "operator"},
		}, Data: data}
	}
	d := shop()
	d.Annotations[annotation.ManagedBy] = "blue"
	ref := workload.Ref{Kind: workload.Deployment, Namespace: "shop", Name: "cart"}
	green := settings("green", "speedscale-operator", map[string]string{"INSTANCE_ID": "green", "CLUSTER_NAME": "blue"})
	c := fake.NewClientset(d, green, settings("green", "speedscale-cloud-ca", map[string]string{"ca.crt": ""}))
	_, err := workload.PlanAll(t.Context(), c, []workload.Ref{ref}, nil)
	want := `deployment shop/cart has the annotation operator.speedscale.com/managed-by="blue", by which it is left to that operator, and here is green: take the annotation away`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := workload.PlanAll(t.Context(), c, []workload.Ref{ref}, map[string]string{annotation.ManagedBy: "green"}); err != nil {
		t.Errorf("one that is given to the operator: %v", err)
	}
	c.PrependReactor("list", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "", nil)
	})
	if _, err := workload.PlanAll(t.Context(), c, []workload.Ref{ref}, nil); err != nil {
		t.Errorf("who may not look for operators: %v", err)
	}
}

func TestPlan(t *testing.T) {
	w := get(t, shop())
	p, err := workload.Plan(w, map[string]string{annotation.TLSOut: "true"})
	if err != nil {
		t.Fatal(err)
	}
	yes := "true"
	if diff := cmp.Diff(map[string]*string{annotation.Inject: &yes, annotation.TLSOut: &yes}, p.Changes); diff != "" {
		t.Error(diff)
	}
	if _, err := workload.Plan(w, map[string]string{annotation.ProxyType: "sideways"}); err == nil || !strings.Contains(err.Error(), `deployment shop/cart: annotation sidecar.speedscale.com/proxy-type="sideways"`) {
		t.Errorf("a wrong value: %v", err)
	}
	if _, err := workload.Plan(w, map[string]string{annotation.Prefix + "tls-aut": "true"}); err == nil || !strings.Contains(err.Error(), "nearest is "+annotation.TLSOut) {
		t.Errorf("an annotation that is none: %v", err)
	}
	d := shop()
	d.Spec.Template.Spec.HostNetwork = true
	if _, err := workload.Plan(get(t, d), nil); err == nil {
		t.Error("hostNetwork in transparent mode is planned")
	} else if _, ok := errors.AsType[*inject.Refused](err); !ok {
		t.Errorf("hostNetwork: %v", err)
	}
	d.Annotations = map[string]string{annotation.Inject: "true", annotation.TLSOut: "true", annotation.Refused: "hostNetwork", "team": "a"}
	if diff := cmp.Diff(map[string]*string{annotation.Inject: nil, annotation.TLSOut: nil, annotation.Refused: nil}, workload.Removal(get(t, d))); diff != "" {
		t.Error(diff)
	}
}

// TestWithdrawnIsTriedAgain, and why it was withdrawn is told without the operator's mark.
func TestWithdrawnIsTriedAgain(t *testing.T) {
	d := shop()
	d.Annotations[annotation.Inject] = "true"
	d.Annotations[annotation.Refused] = stamp.Refusal{Hash: "5f1c2e9a07", Reason: "exceeded quota"}.String()
	w := get(t, d)
	p, err := workload.Plan(w, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]*string{annotation.Refused: nil}, p.Changes); diff != "" {
		t.Error(diff)
	}
	plain := []corev1.Pod{{}}
	if _, refused := workload.Sidecars(w, plain); !slices.Equal(refused, []string{"exceeded quota"}) {
		t.Errorf("pods without it: %q", refused)
	}
	with := []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{annotation.Injected: "true"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: inject.Goproxy}}}}}
	if _, refused := workload.Sidecars(w, with); len(refused) > 0 {
		t.Errorf("pods with it: %q", refused)
	}
}

func TestAnnotateChangesAnnotationsOnly(t *testing.T) {
	job := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "load", Annotations: map[string]string{"a": "1", "b": "2"}}, Spec: batchv1.CronJobSpec{Schedule: "* * * * *"}}
	c := fake.NewClientset(job)
	ref := workload.Ref{Kind: workload.CronJob, Namespace: "shop", Name: "load"}
	if err := workload.Annotate(t.Context(), c, ref, map[string]*string{"a": nil, "c": new("3")}); err != nil {
		t.Fatal(err)
	}
	got, err := c.BatchV1().CronJobs("shop").Get(t.Context(), "load", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"b": "2", "c": "3"}; !maps.Equal(got.Annotations, want) || got.Spec.Schedule != "* * * * *" {
		t.Errorf("%+v", got)
	}
}

// TestNothingIsHalfInjected: of two workloads of which one may not be changed, neither is.
func TestNothingIsHalfInjected(t *testing.T) {
	c := fake.NewClientset()
	var patched []string
	c.PrependReactor("patch", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		p := a.(clienttesting.PatchActionImpl)
		dry := slices.Equal(p.PatchOptions.DryRun, []string{metav1.DryRunAll})
		if p.Name == "theirs" && dry {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "deployments"}, p.Name, errors.New("no right"))
		}
		if !dry {
			patched = append(patched, p.Name)
		}
		return true, nil, nil
	})
	change := func(name string) workload.Change {
		return workload.Change{Workload: &workload.Workload{Ref: workload.Ref{Kind: workload.Deployment, Namespace: "shop", Name: name}}}
	}
	err := workload.AnnotateAll(t.Context(), c, []workload.Change{change("mine"), change("theirs")})
	if err == nil || !strings.Contains(err.Error(), "shop/theirs") || len(patched) > 0 {
		t.Errorf("%v, changed %v", err, patched)
	}
	if err := workload.AnnotateAll(t.Context(), c, []workload.Change{change("mine"), change("other")}); err != nil || !slices.Equal(patched, []string{"mine", "other"}) {
		t.Errorf("%v, changed %v", err, patched)
	}
}

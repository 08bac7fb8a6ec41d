package replay_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/cluster/annotation"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/stamp"
	"github.com/speedscale/speedscale/traffic/report"
)

// endsWith runs a replay to its end, and checks condition Ready and the workload.
func (w *world) endsWith(reason, text string) {
	w.t.Helper()
	w.until("ended", w.ended)
	if c := w.ready(); c.Status != metav1.ConditionTrue || c.Reason != reason || !strings.Contains(c.Message, text) {
		w.t.Errorf("ended with %s %q, want %s and a message that says %q", c.Reason, c.Message, reason, text)
	}
	w.nothingLeft()
}

func TestVerdicts(t *testing.T) {
	for status, want := range map[report.Status][2]string{
		report.MissedGoals: {v1.ReasonTestFailed, "Failed: Missed Goals"},
		report.Error:       {v1.ReasonError, "Error: "},
	} {
		w := newWorld(t, checkout(), trafficReplay(nil))
		w.cloud.status = status
		w.cluster()
		w.endsWith(want[0], want[1])
		if c := w.get().Status.Condition(v1.ConditionPassed); c.Status != metav1.ConditionFalse {
			t.Errorf("%s: passed is %s", status, c.Status)
		}
	}
}

func TestPodWithoutRoutingEndsTheReplayBeforeARequest(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(nil))
	w.cluster()
	w.unrouted = true
	w.endsWith(v1.ReasonError, "started without the replay's routing: the operator's webhook was not asked")
	if w.jobs > 0 {
		t.Error("requests were sent")
	}
}

// routing is a pod's annotation of the replay.
func (w *world) routing() map[string]string {
	w.t.Helper()
	d := &appsv1.Deployment{}
	w.must(w.c.Get(w.t.Context(), client.ObjectKey{Namespace: "shop", Name: "checkout"}, d))
	return d.Spec.Template.Annotations
}

func TestPodThatAppearsWithoutRoutingEndsTheReplay(t *testing.T) {
	for name, c := range map[string]struct {
		refused string
		old     bool
		want    string
	}{
		"refused":        {refused: "hostNetwork", want: `pod "late" started without the replay's routing: hostNetwork`},
		"owner's change": {old: true, want: `pod "late" of deployment shop/checkout runs without the replay's routing: its template was changed`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, checkout(), trafficReplay(nil))
			w.cluster()
			w.until("generating", w.in(v1.ReasonGenerating))
			late := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "late", Labels: map[string]string{"app": "checkout"}}}
			late.Status.Phase = corev1.PodRunning
			if !c.old {
				late.Annotations = w.routing()
				late.Annotations[annotation.Refused] = c.refused
			}
			w.must(w.c.Create(t.Context(), late))
			if _, err := w.pass(); err != nil {
				t.Fatal(err)
			}
			if jobs := list(w, &batchv1.JobList{}).Items; len(jobs) > 0 {
				t.Errorf("the generator goes on: %v", jobs)
			}
			w.endsWith(v1.ReasonError, c.want)
			if len(w.cloud.ends) != 1 || !strings.Contains(w.cloud.ends[0].Error, c.want) {
				t.Errorf("the cloud was told %v", w.cloud.ends)
			}
		})
	}
}

func TestOwnersEditsAreKept(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(nil))
	w.cluster()
	w.until("generating", w.in(v1.ReasonGenerating))
	d := &appsv1.Deployment{}
	key := client.ObjectKey{Namespace: "shop", Name: "checkout"}
	w.must(w.c.Get(t.Context(), key, d))
	d.Spec.Replicas = new(int32(5))
	d.Annotations = map[string]string{"scaled-by": "hpa"}
	w.must(w.c.Update(t.Context(), d))
	w.until("ended", w.ended)
	w.must(w.c.Get(t.Context(), key, d))
	want := checkout()
	want.Spec.Replicas = new(int32(5))
	if diff := cmp.Diff(want.Spec, d.Spec); diff != "" || d.Annotations["scaled-by"] != "hpa" {
		t.Errorf("annotations %v, spec (-want +got):\n%s", d.Annotations, diff)
	}
}

func TestResponderOnlyRunsUntilDeleted(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(func(r *v1.TrafficReplay) {
		r.Spec.Mode = v1.ModeResponderOnly
		r.Spec.Workloads[0].Tests = nil
	}))
	w.cluster()
	w.until("mocking", w.in(v1.ReasonMocking))
	if c := w.get().Status.Condition(v1.ConditionMocksReady); c == nil || c.Status != metav1.ConditionTrue {
		t.Errorf("mocks are %+v", c)
	}
	w.now = w.now.Add(24 * time.Hour)
	// A pod that is not mocked is said, and ends nothing.
	w.must(w.c.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "late", Labels: map[string]string{"app": "checkout"}, Annotations: w.routing()}}))
	if _, err := w.pass(); err != nil {
		t.Fatal(err)
	}
	if c := w.get().Status.Condition(v1.ConditionMocksReady); c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, `pod "late"`) {
		t.Errorf("mocks are %+v", c)
	}
	w.must(w.c.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "late"}}))
	w.until("mocked again", func() bool {
		return w.get().Status.Condition(v1.ConditionMocksReady).Status == metav1.ConditionTrue
	})
	if w.jobs > 0 || w.ready().Reason != v1.ReasonMocking {
		t.Errorf("%d generators, %+v", w.jobs, w.ready())
	}
	w.delete()
	w.until("gone", func() bool { return w.get() == nil })
	w.nothingLeft()
	if len(w.cloud.ends) != 1 || !w.cloud.ends[0].Discard {
		t.Errorf("ended in the cloud with %v", w.cloud.ends)
	}
}

// TestResponderOnlyWithAReport: needsReport keeps what the responder saw.
func TestResponderOnlyWithAReport(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(func(r *v1.TrafficReplay) {
		r.Spec.Mode, r.Spec.NeedsReport = v1.ModeResponderOnly, true
		r.Spec.Workloads[0].Tests = nil
	}))
	w.cluster()
	w.until("mocking", w.in(v1.ReasonMocking))
	w.delete()
	w.until("gone", func() bool { return w.get() == nil })
	if len(w.cloud.ends) != 1 || w.cloud.ends[0].Discard {
		t.Errorf("ended in the cloud with %v", w.cloud.ends)
	}
}

// TestReportOfADeletedReplayHasTheLastAnswers: the responder puts them every 5 s.
func TestReportOfADeletedReplayHasTheLastAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1.TrafficReplay)
		when   string
	}{
		"it mocked":    {func(r *v1.TrafficReplay) { r.Spec.Mode, r.Spec.NeedsReport = v1.ModeResponderOnly, true }, v1.ReasonMocking},
		"all was sent": {nil, v1.ReasonReporting},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, checkout(), trafficReplay(c.change))
			w.cluster()
			w.until(c.when, w.in(c.when))
			w.delete()
			deleted := w.now
			w.until("told", func() bool { return len(w.cloud.ends) > 0 })
			if after := w.now.Sub(deleted); after < 6*time.Second || after > 10*time.Second {
				t.Errorf("the report was made after %s", after)
			}
			if _, ok := w.routing()[annotation.Replay]; ok {
				t.Error("the workload waited for it")
			}
		})
	}
}

// TestHostAliasesReachThePods: the routing of a workload is in what its pods are told.
func TestHostAliasesReachThePods(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(func(r *v1.TrafficReplay) { r.Spec.Workloads[0].Routing = v1.RoutingHostAlias }))
	w.cluster()
	w.until("generating", w.in(v1.ReasonGenerating))
	s, err := stamp.ParseReplay(w.routing()[annotation.Replay])
	if err != nil || !s.HostAliases || len(s.Mocks) == 0 {
		t.Errorf("routing %+v, %v", s, err)
	}
	w.endsWith(v1.ReasonTestSucceeded, "Passed")
}

func TestGeneratorOnlyLeavesTheWorkloadAsItIs(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(func(r *v1.TrafficReplay) {
		r.Spec.Mode = v1.ModeGeneratorOnly
		r.Spec.Workloads[0].Mocks = nil
	}))
	w.cloud.testConfig = `{"id":"three","version":3,"generator":{"numReplicas":3}}`
	w.cluster()
	w.until("generating", w.in(v1.ReasonGenerating))
	if _, ok := w.routing()[annotation.Replay]; ok {
		t.Error("the workload is changed")
	}
	job := list(w, &batchv1.JobList{}).Items[0]
	if *job.Spec.Completions != 3 || *job.Spec.CompletionMode != batchv1.IndexedCompletion {
		t.Errorf("job %+v", job.Spec)
	}
	for _, s := range list(w, &corev1.ServiceList{}).Items {
		if diff := cmp.Diff(map[string]string{"app": "checkout"}, s.Spec.Selector); diff != "" {
			t.Errorf("Service %q selects:\n%s", s.Name, diff)
		}
	}
	if d := list(w, &appsv1.DeploymentList{}).Items; len(d) != 1 {
		t.Errorf("%d Deployments, want the workload only: nothing is mocked, and no logs are asked for", len(d))
	}
	w.endsWith(v1.ReasonTestSucceeded, "Passed")
}

// TestGeneratorOnlyIsNotRecordedAsLive: the sidecar of a workload that is captured has to
// know of the replay.
func TestGeneratorOnlyIsNotRecordedAsLive(t *testing.T) {
	captured := checkout()
	captured.Spec.Template.Annotations[annotation.Stamp] = `{"hash":"h","kind":"Deployment","name":"checkout"}`
	w := newWorld(t, captured, trafficReplay(func(r *v1.TrafficReplay) {
		r.Spec.Mode = v1.ModeGeneratorOnly
		r.Spec.Workloads[0].Mocks = nil
	}))
	w.cloud.testConfig = `{"id":"quiet","version":3}`
	w.cluster()
	w.until("generating", w.in(v1.ReasonGenerating))
	s, err := stamp.ParseReplay(w.routing()[annotation.Replay])
	if err != nil || s.ID != uid || len(s.Mocks) > 0 {
		t.Errorf("routing %+v, %v", s, err)
	}
	if d := list(w, &appsv1.DeploymentList{}).Items; len(d) != 1 {
		t.Errorf("%d Deployments, want the workload only", len(d))
	}
	w.until("ended", w.ended)
	if _, ok := w.routing()[annotation.Replay]; ok || w.ready().Reason != v1.ReasonTestSucceeded {
		t.Errorf("ended with %+v, and the template's annotations %v", w.ready(), w.routing())
	}
}

func TestOtherKinds(t *testing.T) {
	d := checkout()
	for kind, o := range map[string]client.Object{
		"StatefulSet": &appsv1.StatefulSet{ObjectMeta: d.ObjectMeta, Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(1)), Selector: d.Spec.Selector, Template: d.Spec.Template,
			UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType},
		}},
		"DaemonSet": &appsv1.DaemonSet{ObjectMeta: d.ObjectMeta, Spec: appsv1.DaemonSetSpec{
			Selector: d.Spec.Selector, Template: d.Spec.Template,
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType},
		}},
	} {
		t.Run(kind, func(t *testing.T) {
			old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "old", Labels: map[string]string{"app": "checkout"}}}
			w := newWorld(t, o, old, trafficReplay(func(r *v1.TrafficReplay) { r.Spec.Workloads[0].Ref.Kind = kind }))
			w.until("workload", w.in(v1.ReasonWorkload))
			want := strings.ToLower(kind) + " shop/checkout: 1 of 1 pods have no routing yet: its update strategy is OnDelete"
			if m := w.ready().Message; !strings.Contains(m, want) {
				t.Errorf("meanwhile %q, want %q", m, want)
			}
			template := func() corev1.PodTemplateSpec {
				w.must(w.c.Get(t.Context(), client.ObjectKeyFromObject(o), o))
				if s, ok := o.(*appsv1.StatefulSet); ok {
					return s.Spec.Template
				}
				return o.(*appsv1.DaemonSet).Spec.Template
			}
			// Its owner deletes the pod, and the controller makes one of the template.
			w.must(w.c.Delete(t.Context(), old))
			w.must(w.c.Create(t.Context(), w.podOf(&appsv1.Deployment{ObjectMeta: d.ObjectMeta, Spec: appsv1.DeploymentSpec{Template: template()}}, 0)))
			w.until("finished", func() bool { return w.get().Status.FinishedTime != nil })
			if c := w.ready(); c.Reason != v1.ReasonTestSucceeded {
				t.Errorf("ended with %+v", c)
			}
			if _, ok := template().Annotations[annotation.Replay]; ok {
				t.Error("the annotation is left")
			}
			// Nobody deletes the pod: the responder does not stay for ever.
			w.now = w.now.Add(2 * time.Minute)
			w.until("over", w.ended)
			if !w.heard("StillRouted") {
				t.Error("no event names the pod")
			}
		})
	}
}

func TestCustomURL(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(func(r *v1.TrafficReplay) {
		r.Spec.CustomURL = "https://new.example.com:8443/"
		r.Spec.Workloads = nil
	}))
	w.cluster()
	w.until("generating", w.in(v1.ReasonGenerating))
	if got := envOf(list(w, &batchv1.JobList{}).Items[0].Spec.Template, "REPLAY_TARGETS"); got != inKey+"=https://new.example.com:8443" {
		t.Errorf("targets %q", got)
	}
	w.endsWith(v1.ReasonTestSucceeded, "Passed")
	if w.cloud.started.Target != "https://new.example.com:8443/" {
		t.Errorf("target %q", w.cloud.started.Target)
	}
}

func TestCleanupNoneLeavesEverythingUntilDeleted(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(func(r *v1.TrafficReplay) { r.Spec.Cleanup = v1.CleanupNone }))
	w.cluster()
	w.until("finished", func() bool { return w.get().Status.FinishedTime != nil })
	for range 5 {
		if _, err := w.pass(); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := w.routing()[annotation.Replay]; !ok || len(list(w, &batchv1.JobList{}).Items) != 1 || !w.get().Status.Active {
		t.Error("something was cleaned up")
	}
	w.delete()
	w.until("gone", func() bool { return w.get() == nil })
	w.nothingLeft()
}

func TestTTL(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(func(r *v1.TrafficReplay) { r.Spec.TTLAfterReady = &metav1.Duration{Duration: time.Hour} }))
	w.cluster()
	w.until("ended", w.ended)
	r, err := w.pass()
	if err != nil || r.RequeueAfter < 50*time.Minute || r.RequeueAfter > time.Hour {
		t.Errorf("again after %v, %v", r.RequeueAfter, err)
	}
	w.now = w.now.Add(time.Hour)
	w.until("gone", func() bool { return w.get() == nil })
}

func TestWorkloadsThatCannotBeReplayed(t *testing.T) {
	for want, change := range map[string]func(*appsv1.Deployment){
		`is managed by another operator, "blue"`:  func(d *appsv1.Deployment) { d.Annotations = map[string]string{annotation.ManagedBy: "blue"} },
		"has the annotation " + annotation.Ignore: func(d *appsv1.Deployment) { d.Annotations = map[string]string{annotation.Ignore: "true"} },
		"is scaled to 0": func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(0)) },
		"its containers name 2 ports": func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 1}, {ContainerPort: 2}}
		},
	} {
		d := checkout()
		change(d)
		w := newWorld(t, d, trafficReplay(func(r *v1.TrafficReplay) {
			if len(d.Annotations) > 0 {
				r.Spec.Cleanup = v1.CleanupAll
			}
		}))
		w.until("ended", w.ended)
		if c := w.ready(); c.Reason != v1.ReasonError || !strings.Contains(c.Message, want) {
			t.Errorf("ended with %+v, want an error that says %q", c, want)
		}
		if left := len(list(w, &appsv1.DeploymentList{}).Items); len(d.Annotations) > 0 && left != 1 {
			t.Errorf("a workload that must not be changed was deleted by cleanup all")
		}
	}
}

func TestObjectOfSomebodyElseIsLeftAlone(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(nil))
	w.cluster()
	w.until("responder", w.in(v1.ReasonResponder))
	foreign := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "speedscale-generator-" + w.get().Status.Name},
		Spec: batchv1.JobSpec{Completions: new(int32(1))}}
	w.must(w.c.Create(t.Context(), foreign))
	w.until("ended", w.ended)
	if c := w.ready(); c.Reason != v1.ReasonError || !strings.Contains(c.Message, "belongs to somebody else") {
		t.Errorf("ended with %+v", c)
	}
	if jobs := list(w, &batchv1.JobList{}).Items; len(jobs) != 1 {
		t.Error("it was deleted")
	}
}

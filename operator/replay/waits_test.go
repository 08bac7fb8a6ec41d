package replay_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/cluster/annotation"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
)

func TestSecondReplayWaits(t *testing.T) {
	second := trafficReplay(func(r *v1.TrafficReplay) {
		r.Name, r.UID = "pr-43", "22222222-2222-3333-4444-555555555555"
		r.CreationTimestamp = metav1.NewTime(r.CreationTimestamp.Add(time.Second))
	})
	w := newWorld(t, checkout(), trafficReplay(nil), second)
	w.cluster()
	first := w.key
	other := first
	other.Name = "pr-43"
	w.until("first generates", w.in(v1.ReasonGenerating))
	w.key = other
	if _, err := w.pass(); err != nil {
		t.Fatal(err)
	}
	if c := w.ready(); c.Reason != v1.ReasonWaiting || !strings.Contains(c.Message, `waits for TrafficReplay "pr-42", which has Deployment "checkout"`) {
		t.Errorf("the second one is %+v", c)
	}
	if w.cloud.starts != 1 {
		t.Errorf("%d replays were started", w.cloud.starts)
	}
	w.key = first
	w.until("first ended", w.ended)
	w.key = other
	w.endsWith(v1.ReasonTestSucceeded, "Passed")
	if w.jobs != 2 {
		t.Errorf("%d generators", w.jobs)
	}
}

func TestSecondReplayWaitsUntilItsTimeout(t *testing.T) {
	first := trafficReplay(func(r *v1.TrafficReplay) {
		r.Name, r.UID = "pr-41", "22222222-2222-3333-4444-555555555555"
		r.Status.StartedTime, r.Status.Active = new(metav1.Now()), true
	})
	w := newWorld(t, checkout(), first, trafficReplay(nil))
	w.cluster()
	w.until("waits", w.in(v1.ReasonWaiting))
	w.now = w.now.Add(20 * time.Minute)
	w.endsWith(v1.ReasonError, `timeout of 20m0s: waits for TrafficReplay "pr-41"`)
	if w.get().Status.ReportID != "" {
		t.Error("there is a report of what was never started")
	}
}

func TestTimeoutSaysWhatWasWaitedFor(t *testing.T) {
	waiting := func(reason, message string) corev1.PodStatus {
		return corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "app", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
		}}}
	}
	for name, c := range map[string]struct {
		status corev1.PodStatus
		want   string
	}{
		"image": {waiting("ImagePullBackOff", "no such image"), `timeout of 20m0s: deployment shop/checkout: pod "stuck": container "app": ImagePullBackOff: no such image`},
		"scheduling": {corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "Insufficient cpu"}}}, `it is not scheduled: Insufficient cpu`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, checkout(), trafficReplay(nil))
			w.cluster()
			w.until("workload", w.in(v1.ReasonWorkload))
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "stuck", Labels: map[string]string{"app": "checkout"}, Annotations: w.routing()}}
			pod.Labels[annotation.ReplayID], pod.Labels[annotation.ReplayTarget] = uid, "0"
			pod.Status = c.status
			w.must(w.c.Create(t.Context(), pod))
			if _, err := w.pass(); err != nil {
				t.Fatal(err)
			}
			if m := w.ready(); m.Reason != v1.ReasonWorkload || !strings.Contains(m.Message, `pod "stuck"`) {
				t.Errorf("meanwhile it is %+v", m)
			}
			w.now = w.now.Add(20 * time.Minute)
			w.endsWith(v1.ReasonError, c.want)
		})
	}
}

// TestPodThatIsBeingReplacedIsWaitedFor: controllers that delete a pod before they make the next have one less for
// a moment, and all that they have is routed and ready.
func TestPodThatIsBeingReplacedIsWaitedFor(t *testing.T) {
	d := checkout()
	d.Spec.Replicas = new(int32(2))
	for kind, o := range map[string]client.Object{
		"Deployment": d,
		"StatefulSet": &appsv1.StatefulSet{ObjectMeta: d.ObjectMeta, Spec: appsv1.StatefulSetSpec{
			Replicas: d.Spec.Replicas, Selector: d.Spec.Selector, Template: d.Spec.Template,
		}},
		"DaemonSet": &appsv1.DaemonSet{ObjectMeta: d.ObjectMeta, Spec: appsv1.DaemonSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template},
			Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: 2}},
	} {
		t.Run(kind, func(t *testing.T) {
			old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "old", Labels: map[string]string{"app": "checkout"}}}
			w := newWorld(t, o, old, trafficReplay(func(r *v1.TrafficReplay) { r.Spec.Workloads[0].Ref.Kind = kind }))
			w.until("workload", w.in(v1.ReasonWorkload))
			next := func(n int) {
				w.must(w.c.Get(t.Context(), client.ObjectKeyFromObject(o), o))
				template := d.Spec.Template
				switch o := o.(type) {
				case *appsv1.Deployment:
					template = o.Spec.Template
				case *appsv1.StatefulSet:
					template = o.Spec.Template
				case *appsv1.DaemonSet:
					template = o.Spec.Template
				}
				w.must(w.c.Create(t.Context(), w.podOf(&appsv1.Deployment{ObjectMeta: d.ObjectMeta, Spec: appsv1.DeploymentSpec{Template: template}}, n)))
			}
			if kind != "Deployment" { // whose controller the world has
				w.must(w.c.Delete(t.Context(), old))
				next(0)
			}
			if c := w.passIn(time.Second); c.Reason != v1.ReasonWorkload || !strings.Contains(c.Message, "1 of 2 pods are there") || w.jobs > 0 {
				t.Errorf("with one of two pods it is %s %q, and there are %d generators", c.Reason, c.Message, w.jobs)
			}
			next(1)
			w.until("generating", w.in(v1.ReasonGenerating))
		})
	}
}

func TestGeneratorThatDoesNotEnd(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(func(r *v1.TrafficReplay) { r.Spec.Timeout = &metav1.Duration{Duration: 5 * time.Minute} }))
	w.cluster()
	w.until("generating", w.in(v1.ReasonGenerating))
	if job := list(w, &batchv1.JobList{}).Items[0]; *job.Spec.ActiveDeadlineSeconds > 300 || *job.Spec.ActiveDeadlineSeconds < 280 {
		t.Errorf("the Job may run for %d s", *job.Spec.ActiveDeadlineSeconds)
	}
	w.now = w.now.Add(5 * time.Minute)
	w.endsWith(v1.ReasonError, "timeout of 5m0s: 1 of 1 generators send requests")
}

func TestGeneratorThatFails(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(nil))
	w.cluster()
	w.until("generating", w.in(v1.ReasonGenerating))
	job := &list(w, &batchv1.JobList{}).Items[0]
	job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded", Message: "it was tried once"}}
	w.must(w.c.Status().Update(t.Context(), job))
	w.must(w.c.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "generator", Labels: job.Spec.Template.Labels},
		Status:     corev1.PodStatus{Phase: corev1.PodFailed, Message: "exit code 137"},
	}))
	w.endsWith(v1.ReasonError, `the generator failed: pod "generator": exit code 137 (it was tried once)`)
}

func TestCloudAwayAtTheStart(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(nil))
	w.cluster()
	w.cloud.down = true
	w.until("preparing", w.in(v1.ReasonPreparing))
	for range 5 {
		if _, err := w.pass(); err != nil {
			t.Fatal(err)
		}
	}
	if c := w.ready(); !strings.Contains(c.Message, "does not answer") {
		t.Errorf("meanwhile it is %+v", c)
	}
	w.cloud.down = false
	w.endsWith(v1.ReasonTestSucceeded, "Passed")
}

func TestCloudAwayAtTheEnd(t *testing.T) {
	for _, back := range []bool{true, false} {
		t.Run(fmt.Sprint(back), func(t *testing.T) {
			w := newWorld(t, checkout(), trafficReplay(nil))
			w.cluster()
			w.until("generating", w.in(v1.ReasonGenerating))
			w.cloud.down = true
			w.until("reporting", func() bool { return strings.Contains(w.ready().Message, "does not answer") })
			// The workload does not wait for the cloud.
			if _, ok := w.routing()[annotation.Replay]; ok {
				t.Error("the workload is still routed")
			}
			if back {
				w.cloud.down = false
				w.endsWith(v1.ReasonTestSucceeded, "Passed")
				return
			}
			w.now = w.now.Add(5 * time.Minute)
			w.endsWith(v1.ReasonError, "the cloud made no report")
		})
	}
}

func TestUnknownSnapshot(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(nil))
	w.cloud.startErr = connect.NewError(connect.CodeNotFound, errors.New(`snapshot "latest": there is none`))
	w.cluster()
	w.endsWith(v1.ReasonError, `the cloud refuses the replay: snapshot "latest": there is none`)
}

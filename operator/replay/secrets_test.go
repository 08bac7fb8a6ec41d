package replay_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/cluster/annotation"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
)

const (
	noSecret = `MountVolume.SetUp failed for volume "secret-1" : secret "jwt-kee" not found`
	noPart   = `MountVolume.SetUp failed for volume "ca" : references non-existent config key: ca.crt`
)

func withSecrets(r *v1.TrafficReplay) {
	r.Spec.SecretRefs = []v1.SecretRef{{Name: "tls"}, {Name: "jwt-kee"}}
}

// creating makes a pod of the replay's own that the kubelet does not start, and which it
// says something of after a while.
func (w *world) creating(component, reason, message string, after time.Duration) {
	w.t.Helper()
	w.must(w.c.Create(w.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "stuck", UID: "stuck-uid", CreationTimestamp: metav1.NewTime(w.now),
			Labels: map[string]string{annotation.ReplayID: uid, annotation.ReplayComponent: component}},
		Status: corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
			Name: component, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}},
		}}},
	}))
	w.kubelet(corev1.EventTypeWarning, reason, message, after)
}

// kubelet says something of the pod that creating makes.
func (w *world) kubelet(kind, reason, message string, after time.Duration) {
	w.t.Helper()
	w.must(w.c.Create(w.t.Context(), &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("stuck.%d", w.now.Add(after).Unix())}, InvolvedObject: corev1.ObjectReference{UID: "stuck-uid"},
		Type: kind, Reason: reason, Message: message, LastTimestamp: metav1.NewTime(w.now.Add(after)),
	}))
}

// passIn makes a pass after a while, in which the cluster does nothing.
func (w *world) passIn(d time.Duration) metav1.Condition {
	w.t.Helper()
	w.now = w.now.Add(d)
	if _, err := w.pass(); err != nil {
		w.t.Fatal(err)
	}
	return w.ready()
}

// TestSecretThatIsNotThere: a name that is mistyped ends the replay soon, and is told,
// and the workload is not touched.
func TestSecretThatIsNotThere(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(withSecrets))
	for !w.in(v1.ReasonResponder)() {
		w.passIn(time.Second)
	}
	// The kubelet looks again after twice as long each time.
	w.creating("responder", "FailedMount", noSecret, 16*time.Second)
	if c := w.passIn(31 * time.Second); c.Reason != v1.ReasonResponder || !strings.HasSuffix(c.Message, noSecret) {
		t.Errorf("a Secret that may be there by now ended it: %+v", c)
	}
	w.kubelet(corev1.EventTypeWarning, "FailedMount", noSecret, time.Second)
	w.passIn(time.Second)
	if _, ok := w.routing()[annotation.Replay]; ok {
		t.Error("the workload was routed")
	}
	w.endsWith(v1.ReasonError, `spec.secretRefs[1].name: there is no Secret "jwt-kee" in namespace "shop"`)
}

func TestSecretOfTheGeneratorThatIsNotThere(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(func(r *v1.TrafficReplay) {
		withSecrets(r)
		r.Spec.Workloads[0].Mocks = nil
	}))
	w.cluster()
	w.until("generating", w.in(v1.ReasonGenerating))
	job := &list(w, &batchv1.JobList{}).Items[0]
	job.Status.Ready = new(int32(0))
	w.must(w.c.Status().Update(t.Context(), job))
	w.creating("generator", "FailedMount", noSecret, 30*time.Second)
	w.passIn(30 * time.Second)
	w.endsWith(v1.ReasonError, `spec.secretRefs[1].name: there is no Secret "jwt-kee" in namespace "shop"`)
}

// TestPodThatDoesNotStartSaysWhy: its newest event does, unless that is of the way it
// should go.
func TestPodThatDoesNotStartSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		message string
		pulling bool
		want    string
	}{
		"another volume":                    {noPart, false, `pod "stuck": it is starting: FailedMount: ` + noPart},
		"the Secret was made, image pulled": {noSecret, true, `pod "stuck": it is starting`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, checkout(), trafficReplay(withSecrets))
			for !w.in(v1.ReasonResponder)() {
				w.passIn(time.Second)
			}
			w.creating("responder", "FailedMount", c.message, 32*time.Second)
			if c.pulling {
				w.kubelet(corev1.EventTypeNormal, "Pulling", "Pulling image", 33*time.Second)
			}
			if m := w.passIn(time.Minute); m.Reason != v1.ReasonResponder || !strings.HasSuffix(m.Message, c.want) {
				t.Errorf("it is %s %q, want %q", m.Reason, m.Message, c.want)
			}
		})
	}
}

// TestSecretThatIsGoneWhileMocking: what mocks until it is deleted says it, and goes on.
func TestSecretThatIsGoneWhileMocking(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(func(r *v1.TrafficReplay) {
		withSecrets(r)
		r.Spec.Mode = v1.ModeResponderOnly
		r.Spec.Workloads[0].Tests = nil
	}))
	w.cluster()
	w.until("mocking", w.in(v1.ReasonMocking))
	w.must(w.c.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace("shop"), client.MatchingLabels{annotation.ReplayComponent: "responder"}))
	for _, d := range list(w, &appsv1.DeploymentList{}).Items {
		if strings.HasPrefix(d.Name, "speedscale-responder-") {
			d.Status.ReadyReplicas = 0
			w.must(w.c.Status().Update(t.Context(), &d))
		}
	}
	w.creating("responder", "FailedMount", noSecret, 32*time.Second)
	if c := w.passIn(time.Minute); c.Reason != v1.ReasonMocking {
		t.Errorf("it is %+v", c)
	}
	if c := w.get().Status.Condition(v1.ConditionMocksReady); c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, noSecret) {
		t.Errorf("mocks are %+v", c)
	}
}

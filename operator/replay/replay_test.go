package replay_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/cluster/annotation"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// nothingLeft checks that the workload is as its owner wrote it, and that nothing of
// the replay is left.
func (w *world) nothingLeft() {
	w.t.Helper()
	d := &appsv1.Deployment{}
	if err := w.c.Get(w.t.Context(), client.ObjectKey{Namespace: "shop", Name: "checkout"}, d); err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(checkout().Spec, d.Spec); diff != "" {
		w.t.Errorf("the workload's spec (-want +got):\n%s", diff)
	}
	var left []string
	for _, l := range []client.ObjectList{
		&appsv1.DeploymentList{}, &batchv1.JobList{}, &corev1.ServiceList{}, &corev1.SecretList{}, &corev1.ServiceAccountList{}, &rbacv1.RoleBindingList{},
	} {
		if err := w.c.List(w.t.Context(), l, client.InNamespace("shop"), client.HasLabels{annotation.ReplayID}); err != nil {
			w.t.Fatal(err)
		}
		left = append(left, names(l)...)
	}
	if len(left) > 0 {
		w.t.Errorf("left are %v", left)
	}
}

func names(l client.ObjectList) (out []string) {
	switch l := l.(type) {
	case *appsv1.DeploymentList:
		for _, o := range l.Items {
			out = append(out, o.Name)
		}
	case *batchv1.JobList:
		for _, o := range l.Items {
			out = append(out, o.Name)
		}
	case *corev1.ServiceList:
		for _, o := range l.Items {
			out = append(out, o.Name)
		}
	case *corev1.SecretList:
		for _, o := range l.Items {
			out = append(out, o.Name)
		}
	case *corev1.ServiceAccountList:
		for _, o := range l.Items {
			out = append(out, o.Name)
		}
	case *rbacv1.RoleBindingList:
		for _, o := range l.Items {
			out = append(out, o.Name)
		}
	}
	return out
}

func TestFullReplay(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(nil))
	w.cluster()
	w.until("generating", w.in(v1.ReasonGenerating))
	r := w.get()
	if !r.Status.Active || r.Status.InitializedTime == nil || r.Status.SnapshotID != "snapshot-id" {
		t.Errorf("status %+v", r.Status)
	}
	d := &appsv1.Deployment{}
	w.must(w.c.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "checkout"}, d))
	got, err := stamp.ParseReplay(d.Spec.Template.Annotations[annotation.Replay])
	if err != nil {
		t.Fatal(err)
	}
	name := r.Status.Name
	want := stamp.Replay{
		ID: uid, Name: "shop/pr-42", Target: "0", Kind: "Deployment", Workload: "checkout",
		Responder: "speedscale-responder-" + name + ".shop.svc:8080",
		Mocks:     []config.Mock{{Key: stripe}, {Key: inventory, ALPN: "h2"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("annotation (-want +got):\n%s", diff)
	}
	jobs := list(w, &batchv1.JobList{}).Items
	if len(jobs) != 1 || jobs[0].Name != "speedscale-generator-"+name {
		t.Fatalf("jobs %v", jobs)
	}
	if got, want := envOf(jobs[0].Spec.Template, "REPLAY_TARGETS"), inKey+"=speedscale-"+name+"-0.shop.svc:8080"; got != want {
		t.Errorf("targets %q, want %q", got, want)
	}
	s := &corev1.Secret{}
	w.must(w.c.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "speedscale-replay-" + name}, s))
	if string(s.Data["SPEEDSCALE_API_KEY"]) != "token-1" || string(s.Data["SPEEDSCALE_APP_URL"]) != w.cloud.url {
		t.Errorf("secret %v", s.Data)
	}
	w.until("ended", w.ended)
	r = w.get()
	last := r.Status.Conditions[len(r.Status.Conditions)-1]
	if last.Type != v1.ConditionReady || last.Status != metav1.ConditionTrue || last.Reason != v1.ReasonTestSucceeded || last.Message != "Passed" {
		t.Errorf("last condition %+v", last)
	}
	if p := r.Status.Condition(v1.ConditionPassed); p.Status != metav1.ConditionTrue || r.Status.ReportID != uid || r.Status.ReportURL != "https://cloud.example.com/reports/"+uid {
		t.Errorf("passed %+v, report %q, %q", p, r.Status.ReportID, r.Status.ReportURL)
	}
	w.nothingLeft()
	phases := []string{
		"prepare done", "responder started", "responder done", "workload started", "workload done",
		"generator started", "generator done", "report started", "report done", "cleanup started", "cleanup done",
	}
	if got := slices.Compact(w.cloud.phases); !isSubsequence(phases, got) {
		t.Errorf("phases told to the cloud are %v, want among them %v", got, phases)
	}
	if w.cloud.started.Target != "deployment/checkout" || w.cloud.started.BuildTag != "pr-42" || w.cloud.started.Cluster != "prod" {
		t.Errorf("started with %v", w.cloud.started)
	}
}

func isSubsequence(want, got []string) bool {
	for _, s := range got {
		if len(want) > 0 && want[0] == s {
			want = want[1:]
		}
	}
	return len(want) == 0
}

func envOf(t corev1.PodTemplateSpec, name string) string {
	for _, e := range t.Spec.Containers[0].Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// Whatever change is the operator's last one, another operator goes on, requests are
// sent once, and nothing is left.
func TestKilledAnywhereItGoesOn(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			killed := false
			t.Run(fmt.Sprintf("write %d, done %v", n, after), func(t *testing.T) {
				w := newWorld(t, checkout(), trafficReplay(nil))
				w.cluster()
				w.killAt, w.killAfter = n, after
				w.until("ended", w.ended)
				if c := w.ready(); c.Reason != v1.ReasonTestSucceeded {
					t.Errorf("ended with %+v", c)
				}
				if w.jobs != 1 {
					t.Errorf("requests were sent %d times", w.jobs)
				}
				w.nothingLeft()
				killed = w.writes >= n
			})
			if !killed || t.Failed() {
				break
			}
		}
	}
}

// Deleted after any number of passes, the replay goes and leaves nothing.
func TestDeletedAnywhere(t *testing.T) {
	for n := 0; ; n++ {
		over := false
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newWorld(t, checkout(), trafficReplay(nil))
			w.cluster()
			passes := 0
			w.until("passes", func() bool { passes++; return passes > n || w.ended() })
			over = w.ended()
			started := w.cloud.starts > 0
			w.delete()
			w.until("gone", func() bool { return w.get() == nil })
			w.nothingLeft()
			if started && !over && len(w.cloud.ends) == 0 {
				t.Error("the cloud was not told")
			}
		})
		if over || t.Failed() {
			break
		}
	}
}

// TestEndedReplayHoldsNothing: it goes, and a namespace with it, where there is no operator any more.
func TestEndedReplayHoldsNothing(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(nil))
	w.cluster()
	w.until("ended", w.ended)
	w.until("let go", func() bool { return len(w.get().Finalizers) == 0 })
	w.delete()
	if r := w.get(); r != nil {
		t.Errorf("it is kept by %q", r.Finalizers)
	}
	w.nothingLeft()
}

func (w *world) delete() {
	w.t.Helper()
	w.must(w.c.Delete(w.t.Context(), w.get()))
	// The fake API server takes the time from this machine.
	if r := w.get(); r != nil {
		w.now = r.DeletionTimestamp.Time
	}
}

func TestDeletedMidwayIsCanceledInTheCloud(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(nil))
	w.cluster()
	w.until("generating", w.in(v1.ReasonGenerating))
	w.delete()
	w.until("gone", func() bool { return w.get() == nil })
	if n := len(w.cloud.ends); n != 1 || w.cloud.ends[0].Canceled == "" {
		t.Errorf("ends %v, want one that says canceled", w.cloud.ends)
	}
	w.nothingLeft()
}

func TestDeletedWithoutCloud(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(nil))
	w.cluster()
	w.until("generating", w.in(v1.ReasonGenerating))
	w.cloud.down = true
	w.delete()
	w.until("gone", func() bool { return w.get() == nil })
	w.nothingLeft()
	if !w.heard("NoReport") {
		t.Error("no event says that there is no report")
	}
}

// heard says whether there was an event with a text.
func (w *world) heard(text string) bool { return w.event(text) != "" }

// event returns the next event with a text, "" for none.
func (w *world) event(text string) string {
	for {
		select {
		case e := <-w.events:
			if strings.Contains(e, text) {
				return e
			}
		default:
			return ""
		}
	}
}

func TestWorkloadGone(t *testing.T) {
	w := newWorld(t, checkout(), trafficReplay(nil))
	w.cluster()
	w.until("generating", w.in(v1.ReasonGenerating))
	w.must(w.c.Delete(t.Context(), checkout()))
	w.must(w.c.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace("shop"), client.MatchingLabels{"app": "checkout"}))
	w.until("ended", w.ended)
	if c := w.ready(); c.Reason != v1.ReasonError || !strings.Contains(c.Message, "deployment shop/checkout is gone") {
		t.Errorf("ended with %+v", c)
	}
	w.delete()
	w.until("gone", func() bool { return w.get() == nil })
}

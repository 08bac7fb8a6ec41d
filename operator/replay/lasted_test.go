package replay_test

import (
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

// podOfComponent is the one pod of a component of the replay.
func (w *world) podOfComponent(component string) *corev1.Pod {
	w.t.Helper()
	pods := &corev1.PodList{}
	w.must(w.c.List(w.t.Context(), pods, client.InNamespace("shop"), client.MatchingLabels{annotation.ReplayID: uid, annotation.ReplayComponent: component}))
	if len(pods.Items) != 1 {
		w.t.Fatalf("%d pods of the %s", len(pods.Items), component)
	}
	return &pods.Items[0]
}

// ends is a container's end, which the kubelet restarts it after.
func ends(reason string, at time.Time) []corev1.ContainerStatus {
	return []corev1.ContainerStatus{{
		Name: "agent", Ready: true, RestartCount: 1, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: reason, FinishedAt: metav1.NewTime(at)}},
	}}
}

func unready(since time.Time) []corev1.PodCondition {
	return []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(since)}}
}

// TestResponderThatDoesNotLast: the app would be blamed for what reached nobody, and what the responder counted
// before it died is lost.
func TestResponderThatDoesNotLast(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world, *corev1.Pod)
		want   string
	}{
		"out of memory, and ready again": {func(w *world, p *corev1.Pod) { p.Status.ContainerStatuses = ends("OOMKilled", w.now) }, `container "agent" ended with 137 (OOMKilled)`},
		"evicted": {func(w *world, p *corev1.Pod) {
			p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on resource: memory.", ContainerStatuses: ends("Error", w.now)}
		}, "Evicted: The node was low on resource: memory."},
		"drained": {func(w *world, p *corev1.Pod) {
			p.Finalizers = []string{"test/hold"}
			w.must(w.c.Update(t.Context(), p))
			w.must(w.c.Delete(t.Context(), p))
			w.must(w.c.Get(t.Context(), client.ObjectKeyFromObject(p), p))
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Message: "Eviction API: evicting",
			})
		}, "it is deleted: Eviction API: evicting"},
		"not ready": {func(w *world, p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "agent", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
			p.Status.Conditions = unready(w.now.Add(-5 * time.Second))
		}, `container "agent" runs, and is not ready`},
		"another one in its place": {func(w *world, p *corev1.Pod) {
			w.must(w.c.Delete(t.Context(), p))
			p.ResourceVersion, p.CreationTimestamp = "", metav1.NewTime(w.now.Add(time.Second))
			w.must(w.c.Create(t.Context(), p))
		}, "it was made in place of another one"},
		"deleted with its Deployment": {func(w *world, p *corev1.Pod) {
			w.must(w.c.DeleteAllOf(t.Context(), &appsv1.Deployment{}, client.InNamespace("shop"), client.MatchingLabels{annotation.ReplayComponent: "responder"}))
		}, "its Deployment is not there"},
		"no pod": {func(w *world, p *corev1.Pod) {
			w.must(w.c.Delete(t.Context(), p))
			p.Name = ""
		}, "its pod is not there yet"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, checkout(), trafficReplay(nil))
			w.cluster()
			w.until("generating", w.in(v1.ReasonGenerating))
			pod := w.podOfComponent("responder")
			c.change(w, pod)
			if pod.Name != "" {
				w.must(w.c.Status().Update(t.Context(), pod))
			}
			if _, err := w.pass(); err != nil {
				t.Fatal(err)
			}
			if jobs := list(w, &batchv1.JobList{}).Items; len(jobs) > 0 {
				t.Error("the generator goes on")
			}
			if pod.Name != "" && len(pod.Finalizers) > 0 {
				pod.Finalizers = nil
				w.must(w.c.Update(t.Context(), pod))
			}
			w.endsWith(v1.ReasonError, "the responder failed while requests were sent: ")
			if m := w.ready().Message; !strings.HasSuffix(m, c.want) {
				t.Errorf("it says %q, want %q", m, c.want)
			}
		})
	}
}

// TestResponderThatHasHadTrouble: what was before the first request, or is over in a moment, ends nothing.
func TestResponderThatHasHadTrouble(t *testing.T) {
	for name, change := range map[string]func(*world, *corev1.Pod){
		"restarted before":          func(w *world, p *corev1.Pod) { p.Status.ContainerStatuses = ends("Error", w.now.Add(-time.Minute)) },
		"not ready for two seconds": func(w *world, p *corev1.Pod) { p.Status.Conditions = unready(w.now.Add(-2 * time.Second)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, checkout(), trafficReplay(nil))
			w.cluster()
			w.until("generating", w.in(v1.ReasonGenerating))
			pod := w.podOfComponent("responder")
			change(w, pod)
			w.must(w.c.Status().Update(t.Context(), pod))
			w.endsWith(v1.ReasonTestSucceeded, "Passed")
		})
	}
}

// TestCollectorThatDoesNotLast: the replay passes without it, and says so.
func TestCollectorThatDoesNotLast(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world, *corev1.Pod)
		want   string
	}{
		"there": {func(*world, *corev1.Pod) {}, ""},
		// Of a workload that is not restarted both are made in one pass.
		"made with the generator": {func(w *world, p *corev1.Pod) {
			w.must(w.c.Delete(t.Context(), p))
			p.ResourceVersion, p.CreationTimestamp = "", metav1.NewTime(w.now.Add(time.Second))
			w.must(w.c.Create(t.Context(), p))
		}, ""},
		"never started": {func(w *world, p *corev1.Pod) {
			p.Status = corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
				Name: "agent", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image"}},
			}}}
		}, `container "agent": ImagePullBackOff: no such image`},
		"restarted": {func(w *world, p *corev1.Pod) { p.Status.ContainerStatuses = ends("OOMKilled", w.now) }, `container "agent" ended with 137 (OOMKilled)`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, checkout(), trafficReplay(nil))
			w.cluster()
			w.until("generating", w.in(v1.ReasonGenerating))
			pod := w.podOfComponent("collector")
			c.change(w, pod)
			w.must(w.c.Status().Update(t.Context(), pod))
			w.endsWith(v1.ReasonTestSucceeded, "Passed")
			warnings := strings.Join(w.cloud.parts["speedscale-operator"].Warnings, "\n")
			event := w.event("NoCollector")
			if c.want == "" && event+warnings != "" {
				t.Errorf("it says %q, and the report %q", event, warnings)
			}
			want := "logs, events and usage of the workload are incomplete: the collector failed: pod \"" + pod.Name + "\": " + c.want
			if c.want != "" && (!strings.Contains(event, want) || warnings != want) {
				t.Errorf("it says %q, and the report %q, want %q", event, warnings, want)
			}
		})
	}
}

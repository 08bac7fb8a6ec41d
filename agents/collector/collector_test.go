package collector_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	metricsfake "k8s.io/metrics/pkg/client/clientset/versioned/fake"

	"github.com/speedscale/speedscale/agents/collector"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/report"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// sink keeps what is published.
type sink struct {
	mu     sync.Mutex
	events []*cloudv1.ReplayEvent
}

func (s *sink) publish(e *cloudv1.ReplayEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

// texts are the events as lines.
func (s *sink) texts() (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		switch {
		case e.GetLog() != nil:
			l := e.GetLog()
			list = append(list, fmt.Sprintf("log %s/%s: %s", l.GetPod(), l.GetContainer(), l.GetLine()))
		case e.GetClusterEvent() != nil:
			c := e.GetClusterEvent()
			list = append(list, fmt.Sprintf("event %s %s %s ×%d: %s", c.GetType(), c.GetReason(), c.GetObject(), c.GetCount(), c.GetMessage()))
		case e.GetUsage() != nil:
			u := e.GetUsage()
			list = append(list, fmt.Sprintf("usage %s/%s: %dm %d", u.GetPod(), u.GetContainer(), u.GetCpuMillicores(), u.GetMemoryBytes()))
		}
	}
	return list
}

func (s *sink) await(t *testing.T, wanted ...string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		got := strings.Join(s.texts(), "\n")
		missing := ""
		for _, w := range wanted {
			if !strings.Contains(got, w) {
				missing = w
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q is missing in\n%s", missing, got)
		}
	}
}

type world struct {
	sink
	kube    *fake.Clientset
	metrics *metricsfake.Clientset
	logs    map[string]string // container, or previous container, to log
}

func newWorld(objects ...runtime.Object) *world {
	w := &world{kube: fake.NewClientset(objects...), metrics: metricsfake.NewSimpleClientset(), logs: map[string]string{}}
	w.kube.PrependReactor("get", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "log" {
			return false, nil, nil
		}
		o := a.(clienttesting.GenericAction).GetValue().(*corev1.PodLogOptions)
		name := o.Container
		if o.Previous {
			name = "previous " + name
		}
		text, ok := w.logs[name]
		if !ok || !o.Timestamps {
			return true, nil, fmt.Errorf("no log of container %q", name)
		}
		return true, &runtime.Unknown{Raw: []byte(text)}, nil
	})
	w.metrics.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &metricsv1beta1.PodMetricsList{}, nil
	})
	return w
}

// run has a collector work until the test ends.
func (w *world) run(t *testing.T, change func(*collector.Options)) *collector.Collector {
	t.Helper()
	masker, err := mask.New(mask.Standard(), mask.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	o := collector.Options{
		Kube: w.kube, Metrics: w.metrics, Namespaces: []string{"shop"}, Selector: "app=web",
		Masker: masker, Publish: w.publish, Since: start, Interval: 50 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	c := collector.New(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return c
}

func container(name, id string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, ContainerID: id, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
}

func webPod(statuses ...corev1.ContainerStatus) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "web-6d9f7c5b8d-x2x2x", UID: "u1",
			Labels:          map[string]string{"app": "web", "pod-template-hash": "6d9f7c5b8d"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-6d9f7c5b8d"}},
		},
		Status: corev1.PodStatus{ContainerStatuses: statuses},
	}
}

func lines(texts ...string) string {
	var b strings.Builder
	for i, text := range texts {
		fmt.Fprintf(&b, "%s %s\n", start.Add(time.Duration(i+1)*time.Millisecond).Format(time.RFC3339Nano), text)
	}
	return b.String()
}

func TestLogsAreStreamedMaskedAndOursAreNot(t *testing.T) {
	w := newWorld(webPod(container("web", "a"), container("speedscale-goproxy", "b")))
	w.logs["web"] = lines(
		"listening on :8080",
		"login password=hunter2secret",
		"-----BEGIN RSA PRIVATE KEY-----", "MIIEowIBAAKCAQEA1", "-----END RSA PRIVATE KEY-----",
		"\x1b[31mred\xff",
		"long "+strings.Repeat("x", 20<<10),
		strings.Repeat("y", 20<<10),
		"end")
	w.logs["speedscale-goproxy"] = lines("goproxy runs")
	w.run(t, nil)
	const pod = "log web-6d9f7c5b8d-x2x2x/web: "
	w.await(t, pod+"listening on :8080", pod+"login password=REDACTED-", pod+"[31mred\uFFFD", pod+"long [20481 bytes left out]", pod+"end",
		"event Warning LogLinesDropped Pod/web-6d9f7c5b8d-x2x2x ×1: 3 lines of container \"web\" are left out: they were of a private key",
		"1 lines of container \"web\" are left out: they had more than 8192 bytes and no blank in them")
	got := strings.Join(w.texts(), "\n")
	for _, wrong := range []string{"hunter2", "MIIE", "goproxy runs", "yyyy"} {
		if strings.Contains(got, wrong) {
			t.Errorf("%q was published:\n%s", wrong, got)
		}
	}
	if n := strings.Count(got, "listening"); n != 1 {
		t.Errorf("a line that was read again was published %d times", n)
	}
}

func TestTheReplaysOwnPodsAreLeftAlone(t *testing.T) {
	own := webPod(container("generator", "g"))
	own.Name, own.UID = "speedscale-generator-brave-otter", "u2"
	own.Labels["replay.speedscale.com/component"] = "generator"
	w := newWorld(webPod(container("web", "a")), own)
	w.logs["web"], w.logs["generator"] = lines("hello"), lines("requests sent")
	w.run(t, nil)
	w.await(t, "hello")
	if got := strings.Join(w.texts(), "\n"); strings.Contains(got, "generator") {
		t.Errorf("published:\n%s", got)
	}
}

func TestSidecarsLogOnDemand(t *testing.T) {
	w := newWorld(webPod(container("speedscale-goproxy", "b")))
	w.logs["speedscale-goproxy"] = lines("goproxy runs")
	w.run(t, func(o *collector.Options) { o.Sidecar = true })
	w.await(t, "log web-6d9f7c5b8d-x2x2x/speedscale-goproxy: goproxy runs")
}

func TestLogOfARunThatCrashedIsReadToo(t *testing.T) {
	status := corev1.ContainerStatus{
		Name: "web", ContainerID: "b", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: "a", FinishedAt: metav1.NewTime(start.Add(time.Minute))}},
	}
	w := newWorld(webPod(status))
	w.logs["previous web"] = lines("panic: no database")
	w.run(t, nil)
	w.await(t, "panic: no database")
}

func TestNewPodsAreFollowedAsTheyCome(t *testing.T) {
	w := newWorld()
	w.logs["web"] = lines("hello")
	w.run(t, nil)
	pod := webPod()
	if _, err := w.kube.CoreV1().Pods("shop").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod.Status = corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{container("web", "a")}}
	if _, err := w.kube.CoreV1().Pods("shop").Update(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.await(t, "log web-6d9f7c5b8d-x2x2x/web: hello")
}

func TestLinesThatComeTooFastAreCountedAndStated(t *testing.T) {
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprint("line ", i))
	}
	w := newWorld(webPod(container("web", "a")))
	w.logs["web"] = lines(many...)
	w.run(t, func(o *collector.Options) { o.Rate = 1 })
	w.await(t, "lines of container \"web\" are left out: they came faster than is kept")
	kept, dropped := 0, 0
	for _, text := range w.texts() {
		var n int
		if strings.HasPrefix(text, "log ") {
			kept++
		} else if _, err := fmt.Sscanf(text, "event Warning LogLinesDropped Pod/web-6d9f7c5b8d-x2x2x ×1: %d lines", &n); err == nil {
			dropped += n
		}
	}
	if kept == 0 || kept > 99 || dropped == 0 || dropped > 100 {
		t.Errorf("%d lines kept and %d dropped", kept, dropped)
	}
}

func event(uid, kind, name, reason string, count int32, at time.Time) *corev1.Event {
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "shop", Name: uid, UID: types.UID("event-" + uid)},
		InvolvedObject: corev1.ObjectReference{Namespace: "shop", Kind: kind, Name: name},
		Type:           "Warning", Reason: reason, Message: "password=hunter2secret", Count: count, LastTimestamp: metav1.NewTime(at),
	}
}

func TestEventsAboutTheWorkload(t *testing.T) {
	later := start.Add(time.Minute)
	w := newWorld(webPod(),
		event("1", "Pod", "web-6d9f7c5b8d-x2x2x", "Unhealthy", 1, later),
		event("2", "Deployment", "web", "ScalingReplicaSet", 1, later),
		event("3", "ReplicaSet", "web-7c5b8d6d9f", "FailedCreate", 3, later), // of a rollout that has no pods
		event("4", "Pod", "web-admin-6d9f7c5b8d-x2x2x", "Foreign", 1, later),
		event("5", "Pod", "web-6d9f7c5b8d-x2x2x", "Old", 1, start.Add(-time.Minute)))
	w.run(t, nil)
	w.await(t, "event Warning Unhealthy Pod/web-6d9f7c5b8d-x2x2x ×1: password=REDACTED-",
		"event Warning ScalingReplicaSet Deployment/web ×1", "event Warning FailedCreate ReplicaSet/web-7c5b8d6d9f ×3")
	again := event("1", "Pod", "web-6d9f7c5b8d-x2x2x", "Unhealthy", 2, later.Add(time.Second))
	if _, err := w.kube.CoreV1().Events("shop").Update(t.Context(), again, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.await(t, "event Warning Unhealthy Pod/web-6d9f7c5b8d-x2x2x ×2")
	got := strings.Join(w.texts(), "\n")
	for _, wrong := range []string{"Foreign", "Old", "hunter2"} {
		if strings.Contains(got, wrong) {
			t.Errorf("%q was published:\n%s", wrong, got)
		}
	}
}

func TestEventsAboutARollout(t *testing.T) {
	pod := webPod()
	pod.Labels = map[string]string{"app": "web", "rollouts-pod-template-hash": "6d9f7c5b8d"}
	later := start.Add(time.Minute)
	w := newWorld(pod, event("1", "Rollout", "web", "RolloutPaused", 1, later), event("2", "ReplicaSet", "web-7c5b8d6d9f", "FailedCreate", 3, later),
		event("3", "Deployment", "web", "Foreign", 1, later))
	w.run(t, nil)
	w.await(t, "event Warning RolloutPaused Rollout/web ×1", "event Warning FailedCreate ReplicaSet/web-7c5b8d6d9f ×3")
	if got := strings.Join(w.texts(), "\n"); strings.Contains(got, "Foreign") {
		t.Errorf("an event of a Deployment of that name was published:\n%s", got)
	}
}

func TestUsage(t *testing.T) {
	w := newWorld()
	w.metrics.PrependReactor("list", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if selector := a.(clienttesting.ListAction).GetListRestrictions().Labels.String(); selector != "app=web,!replay.speedscale.com/component" {
			return true, nil, fmt.Errorf("selector is %q", selector)
		}
		return true, &metricsv1beta1.PodMetricsList{Items: []metricsv1beta1.PodMetrics{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", Labels: map[string]string{"app": "web"}}, Timestamp: metav1.NewTime(start.Add(time.Minute)),
			Containers: []metricsv1beta1.ContainerMetrics{{Name: "web", Usage: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("12m"), corev1.ResourceMemory: resource.MustParse("3Mi")}}},
		}}}, nil
	})
	w.run(t, nil)
	w.await(t, "usage web-1/web: 12m 3145728")
	calls := func() int { return len(w.metrics.Actions()) }
	for first := calls(); calls() < first+3; time.Sleep(10 * time.Millisecond) { // the same measurement again
	}
	if n := len(w.texts()); n != 1 {
		t.Errorf("one measurement was published %d times", n)
	}
}

func TestWhatIsMissingIsSaidOnce(t *testing.T) {
	w := newWorld(webPod(container("web", "a")))
	w.logs["web"] = lines("hello")
	w.metrics.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("the server could not find the requested resource")
	})
	w.kube.PrependReactor("list", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("events is forbidden")
	})
	w.run(t, nil)
	w.await(t, "hello", "event Normal UsageNotCollected", "event Warning NotCollected events of namespace shop ×1: ")
	for first := len(w.metrics.Actions()); len(w.metrics.Actions()) < first+3; time.Sleep(10 * time.Millisecond) {
	}
	if n := strings.Count(strings.Join(w.texts(), "\n"), "UsageNotCollected"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// TestUsageThatIsWaitedForInVainIsSaid: an API that hangs ends the measuring's own time, and
// not the collector's.
func TestUsageThatIsWaitedForInVainIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.metrics.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			time.Sleep(time.Second)
			return true, nil, context.DeadlineExceeded
		})
		w.run(t, nil)
		time.Sleep(time.Minute)
		if got := w.texts(); len(got) != 1 || !strings.Contains(got[0], "UsageNotCollected") {
			t.Errorf("%q", got)
		}
	})
}

func TestReportHasEventsAndUsage(t *testing.T) {
	var passed sink
	r := collector.NewReporter(start, passed.publish)
	at := start.Add(time.Second).UnixNano()
	r.Publish(&cloudv1.ReplayEvent{Time: at, Event: &cloudv1.ReplayEvent_Usage{Usage: &cloudv1.PodUsage{Pod: "web-1", Container: "web", CpuMillicores: 12, MemoryBytes: 34}}})
	r.Publish(&cloudv1.ReplayEvent{Time: at, Event: &cloudv1.ReplayEvent_ClusterEvent{ClusterEvent: &cloudv1.ClusterEvent{Type: "Warning", Reason: "Unhealthy", Object: "Pod/web-1", Message: "m", Count: 2}}})
	r.Publish(&cloudv1.ReplayEvent{Time: at, Event: &cloudv1.ReplayEvent_Log{Log: &cloudv1.LogLine{Line: "not in the report"}}})
	if n := len(passed.texts()); n != 3 {
		t.Errorf("%d events were passed on", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var parts []report.Part
	r.Run(ctx, time.Hour, func(_ context.Context, p report.Part) error {
		parts = append(parts, p)
		return errors.New("the cloud is away")
	}, slog.New(slog.DiscardHandler))
	r.Run(ctx, time.Hour, func(_ context.Context, p report.Part) error { // since it was not put
		parts = append(parts, p)
		return nil
	}, slog.New(slog.DiscardHandler))
	r.Run(ctx, time.Hour, func(context.Context, report.Part) error { t.Error("nothing has changed"); return nil }, slog.New(slog.DiscardHandler))
	if len(parts) != 2 {
		t.Fatalf("the part was put %d times", len(parts))
	}
	p := parts[1]
	if len(p.Usage) != 1 || p.Usage[0].CPU.Max != 12 || p.Usage[0].Memory.Max != 34 || len(p.ClusterEvents) != 1 || p.ClusterEvents[0].Count != 2 {
		t.Errorf("%+v", p)
	}
}

// TestCollectorThatRestartsKeepsItsPart: what it puts then has another name, so that the report has both.
func TestCollectorThatRestartsKeepsItsPart(t *testing.T) {
	names := map[string]bool{}
	for _, since := range []time.Time{start, start.Add(time.Minute)} {
		r := collector.NewReporter(since, func(*cloudv1.ReplayEvent) {})
		r.Publish(&cloudv1.ReplayEvent{Event: &cloudv1.ReplayEvent_Usage{Usage: &cloudv1.PodUsage{Pod: "web-1", Container: "web"}}})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r.Run(ctx, time.Hour, func(_ context.Context, p report.Part) error { names[p.Name] = true; return nil }, slog.New(slog.DiscardHandler))
	}
	if len(names) != 2 {
		t.Errorf("the parts are named %v", names)
	}
}

func FuzzLinesAreBoundedAndClean(f *testing.F) {
	f.Add([]byte(lines("a", "b password=hunter2")))
	f.Add([]byte("no time\r\n\n\x00\x1b[0m\xff\n-----BEGIN EC PRIVATE KEY-----\nabc"))
	f.Add([]byte(strings.Repeat("z", 40<<10)))
	masker, err := mask.New(mask.Standard(), mask.NewKey())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, log []byte) {
		var s sink
		c := collector.New(collector.Options{Masker: masker, Publish: s.publish, Since: start})
		c.Lines(strings.NewReader(string(log)))
		for _, e := range s.events {
			line := e.GetLog().GetLine()
			if strings.ToValidUTF8(line, "") != line || strings.ContainsAny(line, "\x00\x1b\r\n\x7f") {
				t.Fatalf("line %q", line)
			}
		}
	})
}

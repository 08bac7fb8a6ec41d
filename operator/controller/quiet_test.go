package controller_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubefake "k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/operator/controller"
	"github.com/speedscale/speedscale/operator/note"
)

// quietWorld has pods, and a forwarder that says what their sidecars say.
type quietWorld struct {
	*world
	q        *controller.Quiet
	sidecars []*cloudv1.SidecarTelemetry
	err      error
}

func newQuietWorld(t *testing.T, pods ...client.Object) *quietWorld {
	t.Helper()
	v := &quietWorld{world: newWorld(t)}
	v.client = fake.NewClientBuilder().WithObjects(pods...).
		WithIndex(&corev1.Pod{}, "metadata.name", func(o client.Object) []string { return []string{o.GetName()} }).Build()
	v.q = &controller.Quiet{
		Telemetry: func(context.Context) (*cloudv1.ClusterTelemetry, error) {
			return &cloudv1.ClusterTelemetry{Sidecars: v.sidecars}, v.err
		},
		Client: v.client, Events: note.Recorder{To: v.events}, Now: func() time.Time { return v.now }, Logger: slog.New(slog.DiscardHandler),
	}
	return v
}

func (v *quietWorld) passExpecting(want ...string) {
	v.t.Helper()
	v.q.Pass(v.t.Context())
	v.expectTold(want...)
}

func readyPod(name string, labels map[string]string) *corev1.Pod {
	p := podOf(name, template(name, ""))
	p.Labels[annotation.Injected] = "true"
	for k, value := range labels {
		p.Labels[k] = value
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	return p
}

func silent(pod, mode string) *cloudv1.SidecarTelemetry {
	return &cloudv1.SidecarTelemetry{
		Namespace: "shop", Pod: pod, Service: pod, Mode: mode, Started: 1, Time: int64(2 * time.Minute),
		Inbound: &cloudv1.DirectionTelemetry{LastSeen: 1}, Outbound: &cloudv1.DirectionTelemetry{},
	}
}

func TestQuietPodsAreToldOnce(t *testing.T) {
	v := newQuietWorld(t, readyPod("cart", nil), readyPod("worker", nil))
	v.sidecars = []*cloudv1.SidecarTelemetry{silent("cart", "dual"), silent("worker", "transparent"), silent("gone", "dual")}
	v.passExpecting("Warning DirectionQuiet in dual mode goproxy has seen nothing go out", "Normal DirectionQuiet in transparent mode")
	v.passExpecting()
	// A warning that holds is said again before the API server has forgotten it.
	v.now = v.now.Add(46 * time.Minute)
	v.passExpecting("Warning DirectionQuiet")
	v.err = errors.New("the forwarder is away")
	v.passExpecting()
	v.err = nil
	v.sidecars[0].Outbound.LastSeen = 1
	v.passExpecting("Normal DirectionSeen goproxy has seen something go out")
	v.sidecars = nil
	v.passExpecting()
	v.sidecars = []*cloudv1.SidecarTelemetry{silent("worker", "transparent")}
	v.passExpecting("Normal DirectionQuiet")
}

// TestOnlyPodsThatCaptureAreTold: not those that are not ready, have no sidecar, or take
// part in a replay.
func TestOnlyPodsThatCaptureAreTold(t *testing.T) {
	starting, leaving := readyPod("starting", nil), readyPod("plain", map[string]string{annotation.Injected: "false"})
	starting.Status.Conditions[0].Status = corev1.ConditionFalse
	v := newQuietWorld(t, starting, leaving, readyPod("replayed", map[string]string{annotation.ReplayID: "id"}))
	for _, name := range []string{"starting", "plain", "replayed"} {
		v.sidecars = append(v.sidecars, silent(name, "dual"))
	}
	v.passExpecting()
	starting.Status.Conditions[0].Status = corev1.ConditionTrue
	must(t, v.client.Status().Update(t.Context(), starting))
	v.passExpecting("Warning DirectionQuiet")
}

func TestAskForwarder(t *testing.T) {
	answer := func(w http.ResponseWriter) {
		text, err := protojson.Marshal(&cloudv1.ClusterTelemetry{Sidecars: []*cloudv1.SidecarTelemetry{silent("cart", "dual")}})
		must(t, err)
		w.Write(append(text[:len(text)-1], `,"ofALaterVersion":1}`...))
	}
	status := http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); answer(w) }))
	defer s.Close()
	ask := controller.AskForwarder(s.URL)
	if got, err := ask(t.Context()); err != nil || len(got.GetSidecars()) != 1 || got.GetSidecars()[0].GetPod() != "cart" {
		t.Errorf("%v, %v", got, err)
	}
	status = http.StatusNotFound
	if _, err := ask(t.Context()); err == nil {
		t.Error("404 is an answer")
	}
}

// TestSecondDirectionWasTakenForARepetition: a recorder of events.k8s.io drops what differs
// from an event in its text only.
func TestSecondDirectionWasTakenForARepetition(t *testing.T) {
	v := newQuietWorld(t, readyPod("deaf", nil))
	api := kubefake.NewClientset()
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: api.EventsV1()})
	if err := broadcaster.StartRecordingToSinkWithContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer broadcaster.Shutdown()
	v.q.Events = note.Recorder{To: broadcaster.NewRecorder(scheme.Scheme, "operator")}
	s := silent("deaf", "dual")
	s.Inbound.LastSeen = 0
	v.sidecars = []*cloudv1.SidecarTelemetry{s}
	v.q.Pass(t.Context())
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		list, err := api.EventsV1().Events("shop").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) == 2 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d events: %v", len(list.Items), list.Items)
		}
	}
}

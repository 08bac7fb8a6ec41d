package controller_test

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/operator/controller"
	"github.com/speedscale/speedscale/operator/note"
)

// TestBarePodThatIsNotInjectedIsTold: once it is stored, which takes a while; one that is
// never stored keeps no other one waiting for long.
func TestBarePodThatIsNotInjectedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fake.NewClientBuilder().
			WithIndex(&corev1.Pod{}, "metadata.name", func(o client.Object) []string { return []string{o.GetName()} }).Build()
		recorder := events.NewFakeRecorder(10)
		b := controller.NewBarePods(c, note.Recorder{To: recorder}, slog.New(slog.DiscardHandler))
		ended := make(chan error, 1)
		go func() { ended <- b.Start(t.Context()) }()
		b.Refused(client.ObjectKey{Namespace: "shop", Name: "refused-by-others"})
		b.Refused(client.ObjectKey{Namespace: "shop", Name: "alone"})
		time.Sleep(3 * time.Second)
		must(t, c.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "alone", UID: "1", Annotations: map[string]string{annotation.Refused: "it is on the host's network"},
		}}))
		time.Sleep(20 * time.Second)
		select {
		case got := <-recorder.Events:
			if !strings.Contains(got, "Warning SidecarNotInjected it is on the host's network") {
				t.Errorf("told %q", got)
			}
		default:
			t.Error("nothing was told")
		}
		if len(recorder.Events) > 0 {
			t.Errorf("told more: %q", <-recorder.Events)
		}
		for range 1000 { // it waits for nobody
			b.Refused(client.ObjectKey{Namespace: "shop", Name: "one of many"})
		}
	})
}

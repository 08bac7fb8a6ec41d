package bus_test

import (
	"testing"

	"github.com/speedscale/speedscale/agents/bus"
)

func FuzzTelemetryCluster(f *testing.F) {
	f.Add("k1", "prod.eu")
	f.Add("*", "a b>%61")
	f.Fuzz(func(t *testing.T, key, cluster string) {
		subject := bus.ClusterTelemetry(key, cluster)
		gotKey, gotCluster, ok := bus.TelemetryCluster(subject)
		if want := key != "" && cluster != ""; ok != want || ok && (gotKey != key || gotCluster != cluster) {
			t.Errorf("%q of %q becomes %q, and that %q of %q, %v", cluster, key, subject, gotCluster, gotKey, ok)
		}
		bus.TelemetryCluster("telemetry.cluster." + key + "." + cluster) // does not panic
	})
}

func TestTelemetrySubjects(t *testing.T) {
	for _, name := range []string{"prod", "prod.eu", "a b", "日本", "100%", "x_y-z"} {
		subject := bus.ClusterTelemetry("k1", name)
		if key, cluster, ok := bus.TelemetryCluster(subject); !ok || key != "k1" || cluster != name {
			t.Errorf("%q becomes %q, and that %q of %q, %v", name, subject, cluster, key, ok)
		}
	}
	for _, subject := range []string{"telemetry.cluster.k1", "telemetry.cluster.k1.", "telemetry.cluster..x", "telemetry.cluster.k1.a.b", "telemetry.cluster.k1.%zz", "telemetry.cluster.k1.%61", "telemetry.raw.x"} {
		if key, cluster, ok := bus.TelemetryCluster(subject); ok {
			t.Errorf("%q is of cluster %q and key %q", subject, cluster, key)
		}
	}
	if got := bus.ClusterTelemetries("*"); got != "telemetry.cluster.*.*" {
		t.Errorf("all are %q", got)
	}
	if got := bus.ClusterTelemetries("a*"); got != "telemetry.cluster.a%2A.*" {
		t.Errorf("a key's are %q", got)
	}
	pod := bus.Pod{Namespace: "shop", Name: "cart-7d9f.x"}
	if got, producer, ok := bus.TelemetryPod(pod.TelemetrySubject() + "p1"); !ok || got != pod || producer != "p1" {
		t.Errorf("pod %v, producer %q, %v", got, producer, ok)
	}
	if got, producer, ok := bus.TelemetryPod(bus.RawTelemetry + "p1"); ok || producer != "p1" {
		t.Errorf("without a pod: %v, producer %q, %v", got, producer, ok)
	}
}

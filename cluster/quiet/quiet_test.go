package quiet_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/quiet"
)

// sidecar of a pod that has run for so long, which saw something where it says so.
func sidecar(pod, mode string, age time.Duration, in, out *cloudv1.DirectionTelemetry) *cloudv1.SidecarTelemetry {
	const started = 1_700_000_000_000_000_000
	return &cloudv1.SidecarTelemetry{
		Namespace: "shop", Pod: pod, Service: strings.Split(pod, "-")[0], Mode: mode, Started: started, Time: started + int64(age), Inbound: in, Outbound: out,
	}
}

func seen() *cloudv1.DirectionTelemetry {
	return &cloudv1.DirectionTelemetry{LastSeen: 1, Connections: 1}
}
func nothing() *cloudv1.DirectionTelemetry { return &cloudv1.DirectionTelemetry{} }

func TestFind(t *testing.T) {
	replayed := sidecar("replayed-1", "dual", time.Hour, nothing(), nothing())
	replayed.Replay = "id"
	local := sidecar("", "dual", time.Hour, nothing(), nothing())
	var got []string
	for _, f := range quiet.Find([]*cloudv1.SidecarTelemetry{
		sidecar("busy-1", "dual", time.Hour, seen(), seen()),
		// Forward mode has no inbound direction.
		sidecar("forward-1", "forward", time.Minute, nil, nothing()),
		sidecar("young-1", "forward", 59*time.Second, nil, nothing()),
		// One pod of a workload that sees something is enough.
		sidecar("cart-1", "dual", time.Hour, nothing(), nothing()), sidecar("cart-2", "dual", time.Hour, seen(), nothing()), sidecar("cart-3", "dual", time.Second, nothing(), nothing()),
		sidecar("worker-1", "transparent", time.Hour, nothing(), seen()),
		replayed, local,
	}) {
		kind := "note"
		if f.Warning {
			kind = "warning"
		}
		text, hint, outbound := quiet.Read(f.Note())
		if text != f.Text || hint != f.Hint || outbound != f.Outbound || hint == "" {
			t.Errorf("%q is read as %q, %q, %v", f.Note(), text, hint, outbound)
		}
		got = append(got, kind+" "+f.Namespace+"/"+f.Service+" "+strings.Join(f.Pods, ",")+": "+f.Text)
	}
	want := []string{
		"warning shop/cart cart-1,cart-2: in dual mode goproxy has seen nothing go out since it started",
		"warning shop/forward forward-1: in forward mode goproxy has seen nothing go out since it started",
		"note shop/worker worker-1: in transparent mode goproxy has seen nothing come in since it started",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSeenSaysTheDirection(t *testing.T) {
	for _, outbound := range []bool{false, true} {
		if _, _, got := quiet.Read(quiet.Seen(outbound)); got != outbound {
			t.Errorf("%q is read as outbound %v", quiet.Seen(outbound), got)
		}
	}
}

package check_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/check"
	"github.com/speedscale/speedscale/cluster/quiet"
	"github.com/speedscale/speedscale/traffic"
)

// told are the facts of an installation that works, whose forwarder tells the cloud.
func told() *check.Facts {
	f := healthy()
	f.Forwarder.Object.Spec.Template.Spec.Containers = []corev1.Container{{Env: []corev1.EnvVar{
		{Name: "CLUSTER_NAME", Value: "prod"}, {Name: "TELEMETRY_INTERVAL", Value: "1m0s"}, {Name: "WITH_TELEMETRY", Value: "true"},
	}}}
	now := time.Now().UnixNano()
	f.Cloud.Telemetry = check.Telemetry{Age: 40 * time.Second, Latest: &cloudv1.ClusterTelemetry{
		Name: "prod", Interval: int64(time.Minute), SidecarCount: 1,
		Forwarder: &cloudv1.ForwarderTelemetry{
			Version: "v2", Time: now, Spool: &cloudv1.Spool{Batches: 3, Bytes: 300 << 20, Limit: 1 << 30, Oldest: now - 1e9, Acknowledged: now - 2e9},
		},
		Sidecars: []*cloudv1.SidecarTelemetry{{
			Namespace: "shop", Pod: "cart-1", Service: "cart", Version: "v2", Mode: "dual", Started: now - int64(time.Hour), Time: now,
			Inbound: &cloudv1.DirectionTelemetry{LastSeen: now}, Outbound: &cloudv1.DirectionTelemetry{LastSeen: now},
		}},
	}}
	return f
}

func set(f *check.Facts, name, value string) {
	env := f.Forwarder.Object.Spec.Template.Spec.Containers[0].Env
	for i := range env {
		if env[i].Name == name {
			env[i].Value = value
		}
	}
}

func find(results []check.Result, name string) check.Result {
	for _, r := range results {
		if r.Category == "telemetry" && r.Name == name {
			return r
		}
	}
	return check.Result{}
}

func TestTelemetry(t *testing.T) {
	const hour = int64(time.Hour)
	loss := func(reason string, recent uint64) []*cloudv1.LossTelemetry {
		return []*cloudv1.LossTelemetry{{Reason: reason, Pairs: 1000, RecentPairs: recent}}
	}
	for name, c := range map[string]struct {
		change     func(*check.Facts, *cloudv1.ClusterTelemetry)
		result     string
		status     check.Status
		text, hint string
	}{
		"all well":          {func(*check.Facts, *cloudv1.ClusterTelemetry) {}, "heard", check.OK, "forwarder v2 and 1 sidecars, 40s ago", ""},
		"spool":             {func(*check.Facts, *cloudv1.ClusterTelemetry) {}, "spool", check.OK, "3 batches wait, 300MiB of 1GiB; the cloud acknowledged the last one 2s ago", ""},
		"switched off":      {func(f *check.Facts, _ *cloudv1.ClusterTelemetry) { set(f, "WITH_TELEMETRY", "false") }, "heard", check.OK, "switched off", ""},
		"never":             {func(f *check.Facts, _ *cloudv1.ClusterTelemetry) { set(f, "TELEMETRY_INTERVAL", "0s") }, "heard", check.OK, "switched off", ""},
		"older forwarder":   {func(f *check.Facts, _ *cloudv1.ClusterTelemetry) { set(f, "TELEMETRY_INTERVAL", "") }, "heard", check.OK, "of a version that has none", ""},
		"older cloud":       {func(f *check.Facts, _ *cloudv1.ClusterTelemetry) { f.Cloud.Telemetry.Err = errors.New("takes none") }, "heard", check.Skipped, "takes none", ""},
		"nothing was heard": {func(f *check.Facts, _ *cloudv1.ClusterTelemetry) { f.Cloud.Telemetry.Latest = nil }, "heard", check.Warning, `nothing of cluster "prod"`, "ingest"},
		"not for long":      {func(f *check.Facts, _ *cloudv1.ClusterTelemetry) { f.Cloud.Telemetry.Age = 4 * time.Minute }, "heard", check.Warning, "4m ago, and should every 1m0s", "logs"},
		"data off": {func(_ *check.Facts, t *cloudv1.ClusterTelemetry) {
			t.Forwarder.DataOff, t.Forwarder.Dropped = true, map[string]uint64{traffic.ReasonDataOff: 12}
		}, "spool", check.OK, "data is switched off (forwarder.data: false): 12 pairs were dropped", ""},
		"stuck": {func(_ *check.Facts, t *cloudv1.ClusterTelemetry) {
			s := t.Forwarder.Spool
			s.Oldest, s.Acknowledged = s.Oldest-hour, s.Acknowledged-hour
		}, "spool", check.Failed, "the first for 60m, and the cloud acknowledged the last one 60m ago", "logs"},
		"stuck from the start": {func(_ *check.Facts, t *cloudv1.ClusterTelemetry) {
			s := t.Forwarder.Spool
			s.Oldest, s.Acknowledged = s.Oldest-hour, 0
		}, "spool", check.Failed, "has acknowledged none since the forwarder's start", "logs"},
		"idle for long": {func(_ *check.Facts, t *cloudv1.ClusterTelemetry) {
			s := t.Forwarder.Spool
			s.Batches, s.Bytes, s.Oldest, s.Acknowledged = 0, 0, 0, s.Acknowledged-hour
		}, "spool", check.OK, "0 batches wait, 0B of 1GiB; the cloud acknowledged the last one 60m ago", ""},
		"almost full":  {func(_ *check.Facts, t *cloudv1.ClusterTelemetry) { t.Forwarder.Spool.Bytes = 900 << 20 }, "spool", check.Warning, "900MiB of 1GiB", "forwarder.spool.size"},
		"spool broken": {func(_ *check.Facts, t *cloudv1.ClusterTelemetry) { t.Forwarder.Spool.Error = "timeout" }, "spool", check.Failed, "timeout", "logs"},
		"older sidecar": {func(_ *check.Facts, t *cloudv1.ClusterTelemetry) { t.Sidecars[0].Version = "v1" }, "versions", check.OK,
			"1 of 1 sidecars are of another version than the forwarder: 1 of v1", "upgrade --roll"},
		"drops": {func(_ *check.Facts, t *cloudv1.ClusterTelemetry) {
			t.Sidecars[0].Inbound.Lost = loss(traffic.ReasonQueue, 5)
		}, "shop/cart", check.Warning,
			"lately queue_full 5", "cpu-limit"},
		"unsent": {func(_ *check.Facts, t *cloudv1.ClusterTelemetry) {
			t.Sidecars[0].Unsent = loss(traffic.ReasonUnacked, 5)
		}, "shop/cart", check.Warning, "unacknowledged 5", "forwarder"},
		"dropped long ago": {func(_ *check.Facts, t *cloudv1.ClusterTelemetry) {
			t.Sidecars[0].Inbound.Lost = loss(traffic.ReasonQueue, 0)
		}, "shop/cart", "", "", ""},
		"left out by choice": {func(_ *check.Facts, t *cloudv1.ClusterTelemetry) {
			t.Sidecars[0].Inbound.Lost = loss(traffic.ReasonFiltered, 5)
		}, "shop/cart", "", "", ""},
		"quiet": {func(_ *check.Facts, t *cloudv1.ClusterTelemetry) { t.Sidecars[0].Outbound.LastSeen = 0 }, "shop/cart", check.Warning,
			"in dual mode goproxy has seen nothing go out since it started (1 pods, such as cart-1)", "HTTP_PROXY"},
		"quiet by nature": {func(_ *check.Facts, t *cloudv1.ClusterTelemetry) {
			t.Sidecars[0].Mode, t.Sidecars[0].Outbound.LastSeen = "transparent", 0
		}, "shop/cart", check.OK, "in transparent mode", "as it should be"},
	} {
		t.Run(name, func(t *testing.T) {
			f := told()
			c.change(f, f.Cloud.Telemetry.Latest)
			results := check.After(f)
			r := find(results, c.result)
			if r.Status != c.status || !strings.Contains(r.Text, c.text) || !strings.Contains(r.Hint, c.hint) {
				t.Errorf("%+v, want %s with %q and hint %q", r, c.status, c.text, c.hint)
			}
			for _, bad := range notOK(results) {
				if bad != r {
					t.Errorf("also %+v", bad)
				}
			}
		})
	}
}

// TestManyFindingsAreShort: a cluster with many quiet workloads is still one to read.
func TestManyFindingsAreShort(t *testing.T) {
	f := told()
	for i := range 30 {
		s := f.Cloud.Telemetry.Latest.Sidecars[0]
		f.Cloud.Telemetry.Latest.Sidecars = append(f.Cloud.Telemetry.Latest.Sidecars, &cloudv1.SidecarTelemetry{
			Namespace: "shop", Pod: fmt.Sprintf("w%d-1", i), Service: fmt.Sprintf("w%d", i), Version: "v2", Mode: "reverse",
			Started: s.Started, Time: s.Time, Inbound: &cloudv1.DirectionTelemetry{},
		})
	}
	bad := notOK(check.After(f))
	if len(bad) != 11 || bad[10].Text != "20 more directions see nothing" {
		t.Errorf("%d results, the last is %+v", len(bad), bad[len(bad)-1])
	}
}

// TestWhyNamesQuietDirections, as long as nothing took that back.
func TestWhyNamesQuietDirections(t *testing.T) {
	s := newScene()
	s.inject()
	s.p.UID = "uid-1"
	s.s.Webhook.Name = "speedscale-operator"
	at := time.Now().Add(-10 * time.Minute)
	event := func(name, reason, message string) *corev1.Event {
		at = at.Add(time.Minute)
		return &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Reason: reason, Message: message, LastTimestamp: metav1.NewTime(at),
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "cart-1", UID: "uid-1"},
		}
	}
	out := quiet.Finding{Text: "nothing has been seen to go out", Hint: "look there"}
	in := quiet.Finding{Text: "nothing has been seen to come in", Hint: "look here"}
	before := event("e0", quiet.EventQuiet, out.Note())
	before.InvolvedObject.UID = "of a pod before it"
	c := fake.NewClientset(s.p, s.s.Namespace, s.s.Webhook, component("speedscale-operator", 1), before,
		event("e1", quiet.EventQuiet, in.Note()), event("e2", quiet.EventSeen, quiet.Seen(false)), event("e3", quiet.EventQuiet, out.Note()))
	subject, err := check.LookAtPod(t.Context(), c, "speedscale", "shop", "cart-1")
	if err != nil {
		t.Fatal(err)
	}
	got := subject.Explain()
	if len(got) != 1 || !got[0].Captured || len(got[0].Quiet) != 1 || got[0].Quiet[0].Hint != "look there" || got[0].Quiet[0].Text != out.Text+" (said 6m ago)" {
		t.Errorf("%+v", got)
	}
}

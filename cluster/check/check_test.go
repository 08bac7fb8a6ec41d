package check_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/check"
	"github.com/speedscale/speedscale/cluster/quiet"
	"github.com/speedscale/speedscale/cluster/workload"
)

func cart() workload.Ref {
	return workload.Ref{Kind: workload.Deployment, Namespace: "shop", Name: "cart"}
}

// TestNoAPIServer: nothing else is said, since nothing else is known.
func TestNoAPIServer(t *testing.T) {
	f := &check.Facts{VersionError: errors.New("connection refused")}
	for _, report := range []check.Report{check.Before(f), check.After(f)} {
		all := report.All()
		if len(all) != 1 || all[0].ID != "api-reachable" || all[0].Status != check.Failed || !strings.Contains(all[0].Text, "connection refused") || report.Success {
			t.Errorf("%+v", report)
		}
	}
}

func TestBefore(t *testing.T) {
	empty := func() *world {
		w := newWorld(t)
		w.operator, w.forwarder, w.inspector, w.settings, w.mutating, w.replays, w.validates, w.pods, w.endpoints = nil, nil, nil, nil, nil, nil, nil, nil, nil
		return w
	}
	for name, c := range map[string]struct {
		w      *world
		change func(*world)
		id     string
		status check.Status
		text   string
	}{
		"an empty cluster":  {empty(), func(*world) {}, "", "", ""},
		"an upgrade":        {newWorld(t), func(*world) {}, "", "", ""},
		"an old cluster":    {empty(), func(w *world) { w.version = "v1.29.0" }, "api-version", check.Failed, "want 1.30"},
		"rights missing":    {empty(), func(w *world) { w.denied = []string{"namespaces", "clusterroles"} }, "install-rights", check.Failed, "you may not create namespaces, create clusterroles.rbac.authorization.k8s.io"},
		"webhooks are left": {newWorld(t), func(w *world) { w.operator = nil }, "install-leftovers", check.Warning, "of an operator that is gone"},
		"another's webhooks": {newWorld(t), func(w *world) {
			w.operator, w.mutating.Webhooks[0].ClientConfig.Service.Namespace = nil, "blue"
		}, "install-leftovers", check.Warning, `an operator in namespace "blue"`},
		"another's operator": {empty(), func(w *world) {
			w.more = append(w.more, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "blue", Name: "speedscale-operator", Labels: map[string]string{"app.kubernetes.io/name": "speedscale-operator"}}})
		}, "install-leftovers", check.Failed, `an operator is in namespace "blue" already`},
		"no storage":             {empty(), func(w *world) { w.noStorage = true }, "install-storage", check.Failed, "no storage class is the cluster's default"},
		"an upgrade without one": {newWorld(t), func(w *world) { w.noStorage = true }, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.change(c.w)
			bad := notOK(check.Before(c.w.facts(true)))
			if c.id == "" && len(bad) > 0 || c.id != "" && (len(bad) != 1 || bad[0].ID != c.id || bad[0].Status != c.status || !strings.Contains(bad[0].Text, c.text)) {
				t.Errorf("%+v, want %s of %q with %q", bad, c.status, c.id, c.text)
			}
		})
	}
}

// TestOperatorIsNotReached: that says nothing of its certificate, and an answer that is
// not TLS does.
func TestOperatorIsNotReached(t *testing.T) {
	if r := certificateBy(t, nil); r.Status != check.Skipped {
		t.Errorf("nobody asked: %+v", r)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	dial := func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", plain.Listener.Addr().String())
	}
	if r := certificateBy(t, dial); r.Status != check.Failed || !strings.Contains(r.Text, "does not answer by TLS") {
		t.Errorf("plain HTTP: %+v", r)
	}
	plain.Close()
	if r := certificateBy(t, dial); r.Status != check.Skipped || !strings.Contains(r.Text, "refused") {
		t.Errorf("closed: %+v", r)
	}
}

// certificateBy is what is said of the operator's certificate.
func certificateBy(t *testing.T, dial check.Dial) check.Result {
	t.Helper()
	w := newWorld(t)
	w.dial = dial
	for _, r := range check.After(w.facts(false)).All() {
		if r.ID == "webhook-certificate" {
			return r
		}
	}
	t.Fatal("there is no such check")
	return check.Result{}
}

// TestClock: the header Date of answers tells the server's time.
func TestClock(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(10*time.Minute).UTC().Format(http.TimeFormat))
	}))
	defer s.Close()
	clock := &check.Clock{}
	if clock.Offset().Known {
		t.Error("known before anything was seen")
	}
	web := &http.Client{Transport: clock.Wrap(http.DefaultTransport)}
	res, err := web.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if o := clock.Offset(); !o.Known || (o.By-10*time.Minute).Abs() > 5*time.Second {
		t.Errorf("%+v, want 10m", o)
	}
}

// TestManyFindingsAreShort: a cluster with many quiet workloads is still one to read.
func TestManyFindingsAreShort(t *testing.T) {
	w := newWorld(t)
	latest := w.cloud.Telemetry.Latest
	for i := range 30 {
		s := latest.GetSidecars()[0]
		latest.Sidecars = append(latest.Sidecars, &cloudv1.SidecarTelemetry{
			Namespace: "shop", Pod: fmt.Sprintf("w%d-1", i), Service: fmt.Sprintf("w%d", i), Version: "v2", Mode: "reverse",
			Started: s.GetStarted(), Time: s.GetTime(), Inbound: &cloudv1.DirectionTelemetry{},
		})
	}
	bad := notOK(check.After(w.facts(false)))
	if len(bad) != 11 || bad[10].Text != "20 more are like these" || bad[10].Status != check.Warning {
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
	c := fake.NewClientset(s.p, s.s.Namespace, s.s.Webhook, component("speedscale-operator"), before,
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

package controller

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/quiet"
	"github.com/speedscale/speedscale/operator/note"
)

const (
	// quietInterval is how often the forwarder is asked.
	quietInterval = 15 * time.Second
	// maxTold bounds the pods that are looked at in one pass, and maxRemembered those that
	// are remembered, so that each is told once.
	maxTold       = 50
	maxRemembered = 8192
	// askLimit bounds a question to the forwarder, and maxTelemetry its answer, in bytes.
	askLimit     = 10 * time.Second
	maxTelemetry = 16 << 20
)

// Quiet tells pods, by events, that their sidecars see nothing: a sidecar cannot speak to
// the API server, so it says it to the forwarder, which the operator asks. It runs on the
// leader.
type Quiet struct {
	// Telemetry is the latest of the sidecars.
	Telemetry func(context.Context) (*cloudv1.ClusterTelemetry, error)
	// Client reads pods from the API server without a cache.
	Client client.Client
	// Events tells owners, Now is the time, and Logger says what went wrong.
	Events note.Recorder
	Now    func() time.Time
	Logger *slog.Logger

	told map[told]time.Time // when it was said last
	deaf bool               // the last question failed
}

// told is what a pod is told about.
type told struct {
	namespace, pod string
	outbound       bool
}

// Start makes a pass now and then until ctx ends.
func (q *Quiet) Start(ctx context.Context) error {
	tick := time.NewTicker(quietInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			q.Pass(ctx)
		}
	}
}

// Pass tells those that were not told yet, and those that were and see something now. It
// is for one goroutine.
func (q *Quiet) Pass(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, passLimit)
	defer cancel()
	t, err := q.Telemetry(ctx)
	if err != nil {
		if !q.deaf && ctx.Err() == nil {
			q.Logger.Warn("the forwarder does not say what sidecars see", "error", err)
		}
		q.deaf = true
		return
	}
	q.deaf = false
	q.telling(ctx, quiet.Find(t.GetSidecars()))
	q.forget(ctx, t.GetSidecars())
}

// telling says what was found to the pods that it is about.
func (q *Quiet) telling(ctx context.Context, found []quiet.Finding) {
	left := maxTold
	for _, f := range found {
		for _, name := range f.Pods {
			key := told{f.Namespace, name, f.Outbound}
			at, known := q.told[key]
			// What is as it should be is said once.
			if known && (!f.Warning || q.Now().Sub(at) < quiet.Repeat) || !known && len(q.told) >= maxRemembered {
				continue
			}
			if left--; left < 0 {
				return // the next pass goes on
			}
			pod := q.capturing(ctx, key)
			if pod == nil {
				continue
			}
			kind := corev1.EventTypeNormal
			if f.Warning {
				kind = corev1.EventTypeWarning
			}
			q.Events.Eventf(pod, nil, kind, quiet.EventQuiet, action(f.Outbound), "%s", f.Note())
			if q.told == nil {
				q.told = map[told]time.Time{}
			}
			q.told[key] = q.Now()
		}
	}
}

// action of an event: the recorder takes what differs in its text only for a repetition,
// and drops it.
func action(outbound bool) string {
	if outbound {
		return "CaptureOutbound"
	}
	return "CaptureInbound"
}

// forget takes back what was told to pods that see something now, and forgets those that
// are gone.
func (q *Quiet) forget(ctx context.Context, sidecars []*cloudv1.SidecarTelemetry) {
	there := map[told]*cloudv1.DirectionTelemetry{}
	for _, s := range sidecars {
		there[told{s.GetNamespace(), s.GetPod(), false}] = s.GetInbound()
		there[told{s.GetNamespace(), s.GetPod(), true}] = s.GetOutbound()
	}
	for key := range q.told {
		d, known := there[key]
		if known && d.GetLastSeen() == 0 {
			continue
		}
		if pod := q.capturing(ctx, key); known && pod != nil {
			q.Events.Eventf(pod, nil, corev1.EventTypeNormal, quiet.EventSeen, action(key.outbound), "%s", quiet.Seen(key.outbound))
		}
		delete(q.told, key)
	}
}

// capturing is a pod that is ready and has a sidecar, outside of a replay; nil where it
// is not so now.
func (q *Quiet) capturing(ctx context.Context, key told) *corev1.Pod {
	list := &corev1.PodList{}
	// The operator may list pods, not get them.
	if err := q.Client.List(ctx, list, client.InNamespace(key.namespace), client.MatchingFields{"metadata.name": key.pod}); err != nil {
		q.Logger.Debug("a pod is not told that its sidecar sees nothing", "pod", key.namespace+"/"+key.pod, "error", err)
		return nil
	}
	for i := range list.Items {
		p := &list.Items[i]
		if p.DeletionTimestamp == nil && p.Labels[annotation.Injected] == "true" && p.Labels[annotation.ReplayID] == "" && ready(p) {
			return p
		}
	}
	return nil
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// AskForwarder returns what asks the forwarder at its address for its telemetry.
func AskForwarder(url string) func(context.Context) (*cloudv1.ClusterTelemetry, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // it is in the cluster
	web := &http.Client{Timeout: askLimit, Transport: transport}
	return func(ctx context.Context) (*cloudv1.ClusterTelemetry, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, err
		}
		res, err := web.Do(req)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s: %s", url, res.Status)
		}
		text, err := io.ReadAll(io.LimitReader(res.Body, maxTelemetry))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", url, err)
		}
		t := &cloudv1.ClusterTelemetry{}
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, t); err != nil {
			return nil, fmt.Errorf("%s: %w", url, err)
		}
		return t, nil
	}
}

package replay

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/speedscale/speedscale/agents/agent"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/client"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

const (
	// awayLimit is how long the cloud may be away before a pod gives up, and
	// endLimit how long it may when the pod has been told to end.
	awayLimit = 2 * time.Minute
	endLimit  = 10 * time.Second
	// callLimit bounds one call that is not a download.
	callLimit = 20 * time.Second
)

// Cloud says how a pod of a replay reaches the cloud, and what it is there.
type Cloud struct {
	// URL is the cloud's, Token the replay's, and Roots verify the cloud; nil means
	// the system's.
	URL, Token string
	Roots      *x509.CertPool
	// ReplayID is the report's, Snapshot the id of what is replayed.
	ReplayID, Snapshot string
	// Component is the source of events, and the name of a part that has none.
	Component string
	// Dir is where the snapshot goes, in a folder of its id.
	Dir string
}

func readCloud(v *agent.Vars, snapshotID string) *Cloud {
	needed := func(name, why string) string {
		s := v.String(name, "")
		if s == "" {
			v.Missing(name, why)
		}
		return s
	}
	c := &Cloud{
		URL:       needed("SPEEDSCALE_APP_URL", "the snapshot SNAPSHOT_ID comes from the cloud, https://HOST"),
		Token:     needed("SPEEDSCALE_API_KEY", "the cloud gives a snapshot to those it knows"),
		ReplayID:  needed("REPLAY_ID", "it says whose events and report these are"),
		Component: needed("COMPONENT", "it names the part of the report, such as generator-0"),
		Dir:       needed("SNAPSHOT_DIR", "the snapshot is kept there"),
		Snapshot:  snapshotID,
	}
	if u, err := url.Parse(c.URL); c.URL != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		v.Fail("SPEEDSCALE_APP_URL", "…", "want https://HOST")
	}
	c.Roots = v.Roots("SPEEDSCALE_APP_CA")
	return c
}

// Member is a pod that takes part in a replay which the cloud follows. It is safe
// for concurrent use.
type Member struct {
	// Events go to the cloud.
	Events *Events

	cloud  *Cloud
	client *client.Client
	log    *slog.Logger
}

// Join makes a member. The caller closes it. Nothing is sent yet.
func (c *Cloud) Join(registry prometheus.Registerer, log *slog.Logger) (*Member, error) {
	api, err := client.New(client.Options{URL: c.URL, Key: c.Token, Roots: c.Roots})
	if err != nil {
		return nil, err
	}
	m := &Member{cloud: c, client: api, log: log}
	m.Events = NewEvents(EventsOptions{
		Source: c.Component, Registry: registry, Logger: log,
		Publish: func(ctx context.Context, events []*cloudv1.ReplayEvent) error {
			_, err := api.Replays.Publish(ctx, &cloudv1.PublishRequest{ReplayId: c.ReplayID, Events: events})
			return err
		},
	})
	return m, nil
}

// Close sends the events that are left, within a limit.
func (m *Member) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), endLimit/2)
	defer cancel()
	m.Events.Close(ctx)
	m.client.Close()
}

// Load downloads the snapshot, and gets its masking key, in memory only. It asks
// again while the cloud is away, for two minutes at most.
func (m *Member) Load(ctx context.Context, s *Settings) error {
	var dir string
	err := m.retry(ctx, awayLimit, "snapshot", func(ctx context.Context) (err error) {
		dir, err = m.client.PullSnapshot(ctx, m.cloud.Snapshot, func(id string) string { return filepath.Join(m.cloud.Dir, id) })
		return err
	})
	if err != nil {
		return fmt.Errorf("snapshot %q: %w", m.cloud.Snapshot, err)
	}
	if s.Snapshot, err = snapshot.Open(dir); err != nil {
		return err
	}
	masking := s.Snapshot.Meta().Masking
	if masking == nil {
		return nil
	}
	var key mask.Key
	err = m.retry(ctx, awayLimit, "masking key", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, callLimit)
		defer cancel()
		res, err := m.client.Masking.Get(ctx, &cloudv1.GetMaskingRequest{KeyId: masking.KeyID})
		key = mask.Key{ID: res.GetKeyId(), Secret: res.GetKey()}
		return err
	})
	switch {
	case connect.CodeOf(err) == connect.CodeNotFound: // masked by another cloud
		s.KeyMissing = true
		s.Blind, err = newMasker(masking, mask.NewKey())
	case err == nil:
		s.Masker, err = newMasker(masking, key)
	}
	if err != nil {
		return fmt.Errorf("masking key %q of snapshot %q: %w", masking.KeyID, m.cloud.Snapshot, err)
	}
	return nil
}

// PutPart stores what the pod has for the report, in place of what it put before by the
// same name; the component's where the part has none. It tries again while the cloud is
// away: for two minutes, of which ten seconds are left when ctx ends.
func (m *Member) PutPart(ctx context.Context, p report.Part) error {
	ctx, cancel := outliving(ctx)
	defer cancel()
	return m.retry(ctx, awayLimit, "part of the report", func(ctx context.Context) error { return m.put(ctx, p) })
}

// OfferPart is PutPart that tries once, and not after ctx has ended: for a part that
// another one will follow.
func (m *Member) OfferPart(ctx context.Context, p report.Part) error {
	err := m.put(ctx, p)
	if err != nil && ctx.Err() == nil {
		m.log.Warn("the cloud does not have the newest part of the report", "error", err)
	}
	return err
}

func (m *Member) put(ctx context.Context, p report.Part) error {
	p.Name = cmp.Or(p.Name, m.cloud.Component)
	part, err := json.Marshal(p)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, callLimit)
		defer cancel()
		_, err = m.client.Replays.PutPart(ctx, &cloudv1.PutPartRequest{ReplayId: m.cloud.ReplayID, Name: p.Name, Part: part})
	}
	if err != nil {
		return fmt.Errorf("part of the report: %w", err)
	}
	return nil
}

// outliving returns a context that ends endLimit after its parent.
func outliving(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	stop := context.AfterFunc(parent, func() { time.AfterFunc(endLimit, cancel) })
	return ctx, func() { stop(); cancel() }
}

// retry calls do until it succeeds or cannot, and no more when the cloud has been
// away for so long.
func (m *Member) retry(ctx context.Context, limit time.Duration, what string, do func(context.Context) error) error {
	begun := time.Now()
	for pause := 500 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		err := agent.TrustHint(do(ctx))
		if err == nil {
			return nil
		}
		if _, called := errors.AsType[*connect.Error](err); !called || !client.Retryable(err) || ctx.Err() != nil {
			return err
		}
		if time.Since(begun)+pause > limit {
			return fmt.Errorf("the cloud is away for %v: %w", time.Since(begun).Round(time.Second), err)
		}
		m.log.Warn("the cloud is away, asking again", "what", what, "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
}

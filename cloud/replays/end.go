package replays

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/catalog"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/snapshot"
	"github.com/speedscale/speedscale/traffic/testconfig"
)

// PutPart stores what one agent has for the report of a replay that runs, in place
// of what it put before.
func (r *Replays) PutPart(ctx context.Context, id, name string, doc []byte) error {
	if !validPart(name) {
		return invalid("name %q of a part is not 1 to %d of a to z, 0 to 9 and -", name, maxSource)
	}
	if _, err := report.ParsePart(name, doc); err != nil {
		return invalid("%w", err)
	}
	return r.o.Catalog.PutPart(ctx, id, name, doc, catalog.PartLimits{Count: r.o.Limits.Parts, Bytes: r.o.Limits.PartBytes})
}

func validPart(name string) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return name != "" && len(name) <= maxSource && name != sourceCloud
}

// End closes a replay: it makes the report of the parts, revokes the token and tells
// those who follow. Of one that has ended it returns the report again.
func (r *Replays) End(ctx context.Context, req *cloudv1.EndReplayRequest) (*cloudv1.EndReplayResponse, error) {
	if req.GetCanceled() != "" && req.GetError() != "" {
		return nil, invalid("canceled and error are both given")
	}
	if err := r.o.Catalog.RunningReplay(ctx, req.GetId()); err != nil && !errors.Is(err, catalog.ErrEnded) {
		return nil, err // before it has a log
	}
	// What is begun is not given up half way because a client went.
	ctx = context.WithoutCancel(ctx)
	l := r.logOf(req.GetId())
	l.mu.Lock()
	defer l.mu.Unlock()
	replay, err := r.o.Catalog.Replay(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	if err := l.load(ctx, r, replay.ID); err != nil {
		return nil, err
	}
	if replay.End.Ended == 0 {
		if replay.End, err = r.end(ctx, replay, l, req); err != nil {
			return nil, err
		}
		r.log.Info("replay ended", "replay", replay.ID, "status", replay.End.Status, "error", replay.End.Error, "dropped", replay.End.Dropped)
	}
	r.forget(replay.ID) // who waits for its log sees that the replay has ended
	// It may be there already, or have failed when the replay was ended before.
	if l.last < replay.End.LastEvent {
		if err := r.store(ctx, replay.ID, l, []*cloudv1.ReplayEvent{endEvent(replay.End)}, l.dropped); err != nil {
			return nil, err
		}
	}
	if !replay.End.Reported {
		return &cloudv1.EndReplayResponse{}, nil
	}
	doc, err := r.o.Catalog.Report(ctx, replay.ID)
	if err != nil {
		return nil, err
	}
	return &cloudv1.EndReplayResponse{Report: doc}, nil
}

// end records the end of a replay.
func (r *Replays) end(ctx context.Context, replay catalog.Replay, l *eventLog, req *cloudv1.EndReplayRequest) (catalog.ReplayEnd, error) {
	end := catalog.ReplayEnd{Ended: time.Now().UnixNano(), LastEvent: l.last + 1, Dropped: l.dropped}
	if req.GetDiscard() {
		// Nobody asked for a verdict, so there is only whether it ended as it should.
		status, why := given(req)
		end.Status, end.Error = string(cmp.Or(status, report.Passed)), why
		return end, r.o.Catalog.EndReplay(ctx, replay.ID, end, nil)
	}
	made, err := r.report(ctx, replay, req)
	if err != nil {
		return end, err
	}
	entry := catalog.Report{ID: replay.ID, Created: end.Ended}
	if entry.Document, err = json.Marshal(made); err != nil {
		return end, err
	}
	if entry.Summary, err = json.Marshal(made.Summary()); err != nil {
		return end, err
	}
	end.Status, end.Error, end.Reported = string(made.Status), made.Error, true
	return end, r.o.Catalog.EndReplay(ctx, replay.ID, end, &entry)
}

// given is the status that whoever ends a replay decides, "" where its parts do.
func given(req *cloudv1.EndReplayRequest) (status report.Status, why string) {
	switch {
	case req.GetError() != "":
		return report.Error, req.GetError()
	case req.GetCanceled() != "":
		return report.Canceled, req.GetCanceled()
	}
	return "", ""
}

// report makes a replay's report of its parts.
func (r *Replays) report(ctx context.Context, replay catalog.Replay, req *cloudv1.EndReplayRequest) (*report.Report, error) {
	meta, err := snapshot.ParseMeta(replay.Snapshot)
	if err != nil {
		return nil, fmt.Errorf("snapshot of replay %q: %w", replay.ID, err)
	}
	config, err := testconfig.Parse(replay.TestConfig)
	if err != nil {
		return nil, fmt.Errorf("replay %q: %w", replay.ID, err)
	}
	o := report.Options{
		ID: replay.ID, Name: cmp.Or(replay.Name, meta.Info.Name), BuildTag: replay.BuildTag, Target: replay.Target, Goals: config.Goals(),
		Tags: map[string]string{"cluster": replay.Cluster, "namespace": replay.Namespace, "testConfig": config.ID()},
	}
	r.archived(ctx, replay.ID)
	stored, err := r.o.Catalog.Parts(ctx, replay.ID)
	if err != nil {
		return nil, err
	}
	status, why := given(req)
	if len(stored) == 0 && status == "" {
		status, why = report.Error, "no agent of the replay handed in its part of the report"
	}
	own, err := r.ownPart(ctx, replay, status, why)
	if err != nil {
		return nil, err
	}
	parts := []report.Part{own}
	for _, p := range stored {
		part, err := report.ParsePart(p.Name, p.Document)
		if err != nil {
			return nil, fmt.Errorf("replay %q: %w", replay.ID, err)
		}
		parts = append(parts, part)
	}
	merged, err := report.Merge(meta, parts, o)
	if err != nil {
		// A report that says so is better than a replay that never ends.
		if own, err = r.ownPart(ctx, replay, report.Error, cmp.Or(why, err.Error())); err != nil {
			return nil, err
		}
		return report.Merge(meta, []report.Part{own}, o)
	}
	return merged, nil
}

// archivedLimit is how long a report waits for what sidecars told last.
const archivedLimit = 5 * time.Second

// archived waits until what sidecars told is in the catalog. Without the last of it there
// is a report too, which says what it does not know.
func (r *Replays) archived(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, archivedLimit)
	defer cancel()
	if err := r.o.Archived(ctx); err != nil {
		r.log.Warn("the report may count too few requests of others", "replay", id, "error", err)
	}
}

// ownPart is what the cloud has for the report: a status that the parts of the
// agents do not decide, if there is one, and what sidecars saw come in.
func (r *Replays) ownPart(ctx context.Context, replay catalog.Replay, status report.Status, why string) (report.Part, error) {
	b := report.NewBuilder(nil, report.Options{Started: time.Unix(0, replay.Started)})
	switch status {
	case report.Error:
		b.Fail(errors.New(why))
	case report.Canceled:
		b.Cancel(why)
	}
	received, err := r.o.Catalog.Received(ctx, replay.ID)
	if err != nil {
		return report.Part{}, err
	}
	for from, n := range received {
		b.AddReceived(report.Received{Address: from.Address, Requests: int64(n.Requests), Connections: int64(n.Connections)})
	}
	p := b.Part()
	p.Name = sourceCloud
	return p, nil
}

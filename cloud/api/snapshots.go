package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/archive"
	"github.com/speedscale/speedscale/cloud/catalog"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// progressInterval is how often Create says how far it is.
const progressInterval = 250 * time.Millisecond

type snapshotService struct{ *API }

// begin waits until another snapshot may be made or uploaded.
func (a *API) begin(ctx context.Context) (end func(), err error) {
	select {
	case a.building <- struct{}{}:
		return func() { <-a.building }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Create implements cloudv1connect.SnapshotServiceHandler.
func (s snapshotService) Create(ctx context.Context, r *cloudv1.CreateSnapshotRequest, out *connect.ServerStream[cloudv1.CreateSnapshotResponse]) error {
	q, err := query(r.GetSelection())
	if err != nil {
		return err
	}
	if err := validName(r.GetName()); err != nil {
		return err
	}
	end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := s.flush(ctx); err != nil {
		return connect.NewError(connect.CodeUnavailable, err)
	}
	sel := r.GetSelection()
	meta := snapshot.Meta{
		ID:               uuid.NewString(),
		FilterExpression: sel.GetQuery(),
		Info:             snapshot.Info{Name: r.GetName(), ServiceName: sel.GetService(), CreatedAt: time.Now().UTC()},
	}
	// Where the selection leaves an end open, the pairs set it.
	if q.Bounds.From != 0 {
		meta.Info.StartTime = time.Unix(0, q.Bounds.From).UTC()
	}
	if q.Bounds.To != 0 {
		meta.Info.EndTime = time.Unix(0, q.Bounds.To).UTC()
	}
	doc, n, err := s.write(ctx, meta, q, sel.GetService(), func(pairs uint64) error {
		return out.Send(&cloudv1.CreateSnapshotResponse{Pairs: pairs})
	})
	if err != nil {
		return err
	}
	return out.Send(&cloudv1.CreateSnapshotResponse{Pairs: n, Snapshot: doc})
}

func validName(name string) error {
	if len(name) > 200 {
		return invalid("name is longer than 200 bytes")
	}
	if name == catalog.Latest {
		return invalid("name %q stands for the newest snapshot; choose another", name)
	}
	return nil
}

// write makes the snapshot, and leaves nothing where it fails.
func (s snapshotService) write(ctx context.Context, meta snapshot.Meta, q archive.Query, service string, progress func(uint64) error) (doc []byte, n uint64, err error) {
	dir := filepath.Join(s.o.Snapshots, meta.ID)
	w, err := snapshot.Create(dir, meta)
	if err != nil {
		return nil, 0, err
	}
	defer w.Abort()
	var first, last int64
	var keyID string
	told := time.Now()
	for p, err := range s.o.Archive.Scan(ctx, q) {
		if err != nil {
			return nil, 0, err
		}
		if err := w.Add(p); err != nil {
			return nil, 0, err
		}
		if n++; n == 1 {
			first = p.Ts
		}
		last = p.Ts
		if p.MaskKeyId != "" {
			keyID = p.MaskKeyId
		}
		if n%64 == 0 && time.Since(told) >= progressInterval {
			if err := progress(n); err != nil {
				return nil, 0, err
			}
			told = time.Now()
		}
	}
	if n == 0 {
		return nil, 0, s.nothing(ctx)
	}
	// Where the selection leaves an end open, its window ends with the pairs.
	from, to := q.Bounds.From, q.Bounds.To-1
	if from == 0 {
		from = first
	}
	if q.Bounds.To == 0 {
		to = last
	}
	if err := s.state(ctx, w, from, to, service, keyID); err != nil {
		return nil, 0, err
	}
	done, err := w.Commit()
	if err != nil {
		return nil, 0, err
	}
	if doc, err = s.record(ctx, done, false); err != nil {
		os.RemoveAll(dir)
		return nil, 0, err
	}
	return doc, n, nil
}

// nothing explains a selection without pairs.
func (s snapshotService) nothing(ctx context.Context) error {
	t, err := s.o.Catalog.Totals(ctx)
	if err != nil {
		return err
	}
	return connect.NewError(connect.CodeFailedPrecondition,
		fmt.Errorf("no pair is selected, so no snapshot was made; the archive holds %d pairs", t.Pairs))
}

// state has the snapshot say what is missing from its window, and how it was
// masked.
func (s snapshotService) state(ctx context.Context, w *snapshot.Writer, from, to int64, service, keyID string) error {
	losses, err := s.o.Catalog.Losses(ctx, from, to, service)
	if err != nil {
		return err
	}
	for _, l := range losses {
		w.Lose(&traffic.Loss{
			Reason: l.Reason, Service: l.Service, Namespace: l.Namespace, Direction: l.Direction,
			From: l.From, To: l.To, Pairs: l.Pairs, Connections: l.Connections, Bytes: l.Bytes,
		})
	}
	gaps, err := s.o.Catalog.Gaps(ctx, from, to)
	if err != nil {
		return err
	}
	for _, g := range gaps {
		w.Gap(snapshot.Gap{Producer: g.Producer, From: g.FirstPair, To: g.LastPair})
	}
	vanished, err := s.o.Catalog.Vanished(ctx, from, to, time.Now().Add(-s.o.VanishAfter))
	if err != nil {
		return err
	}
	for _, p := range vanished {
		w.Vanished(p)
	}
	if keyID != "" {
		config, err := s.config(ctx, configMasking)
		if err != nil {
			return err
		}
		w.SetMasking(config, keyID)
	}
	return nil
}

// record puts a snapshot that is in place into the catalog.
func (a *API) record(ctx context.Context, meta *snapshot.Meta, replace bool) (doc []byte, err error) {
	if doc, err = json.Marshal(meta); err != nil {
		return nil, err
	}
	created := meta.Info.CreatedAt
	if created.IsZero() {
		created = time.Now()
	}
	return doc, a.o.Catalog.PutSnapshot(ctx, catalog.Snapshot{
		ID: meta.ID, Name: meta.Info.Name, Created: created.UnixNano(), Document: doc,
	}, replace)
}

// Get implements cloudv1connect.SnapshotServiceHandler.
func (s snapshotService) Get(ctx context.Context, r *cloudv1.GetSnapshotRequest) (*cloudv1.GetSnapshotResponse, error) {
	found, err := s.find(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	return &cloudv1.GetSnapshotResponse{Snapshot: found.Document}, nil
}

// find returns the snapshot that a caller asks for, if its key opens it.
func (s snapshotService) find(ctx context.Context, id string) (catalog.Snapshot, error) {
	found, err := s.o.Catalog.Snapshot(ctx, id)
	token, ok := ofToken(ctx)
	if !ok {
		return found, err
	}
	replay, replayErr := s.o.Catalog.Replay(ctx, token)
	switch {
	case replayErr != nil:
		return catalog.Snapshot{}, replayErr
	case err != nil && !errors.Is(err, catalog.ErrNotFound):
		return catalog.Snapshot{}, err
	case err != nil && id != replay.SnapshotID || err == nil && found.ID != replay.SnapshotID:
		return catalog.Snapshot{}, denied(token, "another snapshot than its own")
	}
	return found, err
}

// List implements cloudv1connect.SnapshotServiceHandler.
func (s snapshotService) List(ctx context.Context, _ *cloudv1.ListSnapshotsRequest) (*cloudv1.ListSnapshotsResponse, error) {
	all, err := s.o.Catalog.Snapshots(ctx)
	if err != nil {
		return nil, err
	}
	res := &cloudv1.ListSnapshotsResponse{}
	for _, found := range all {
		res.Snapshots = append(res.Snapshots, found.Document)
	}
	return res, nil
}

// Delete implements cloudv1connect.SnapshotServiceHandler.
func (s snapshotService) Delete(ctx context.Context, r *cloudv1.DeleteSnapshotRequest) (*cloudv1.DeleteSnapshotResponse, error) {
	found, err := s.o.Catalog.Snapshot(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	// The folder goes first: an entry without a folder can be deleted again.
	if err := os.RemoveAll(filepath.Join(s.o.Snapshots, found.ID)); err != nil {
		return nil, err
	}
	if err := s.o.Catalog.DeleteSnapshot(ctx, found.ID); err != nil {
		return nil, err
	}
	s.o.Logger.Info("snapshot deleted", "snapshot", found.ID, "name", found.Name)
	return &cloudv1.DeleteSnapshotResponse{}, nil
}

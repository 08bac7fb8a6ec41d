package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// ErrEnded says that a replay has ended, so that nothing is added to it.
var ErrEnded = errors.New("the replay has ended")

// ErrFull says that a replay has as much as is kept of one.
var ErrFull = errors.New("too much for one replay")

// Replay is an entry about a replay.
type Replay struct {
	ID, Name, Cluster, Namespace, Target, BuildTag string
	// SnapshotID is what is replayed, MaskKeyID the id of its masking key.
	SnapshotID, MaskKeyID string
	// Snapshot (snapshot.json) and TestConfig are as they were at the start; both
	// are empty once the replay has ended.
	Snapshot, TestConfig []byte
	// Started and Expires are in Unix nanoseconds.
	Started, Expires int64
	// End is zero while the replay runs.
	End ReplayEnd
}

// ReplayEnd is what came of a replay.
type ReplayEnd struct {
	// Ended is in Unix nanoseconds.
	Ended         int64
	Status, Error string
	// Reported says that there is a report of the replay's id.
	Reported bool
	// LastEvent is the sequence of the event that ends the replay.
	LastEvent uint64
	// Dropped counts the events that were left out.
	Dropped uint64
}

// StartReplay adds a replay and its token. Of one that is there already only the
// token and Expires are replaced; one that has ended is refused with ErrEnded.
func (c *Catalog) StartReplay(ctx context.Context, r Replay, token Key) error {
	err := c.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO replays VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, '', '', 0, 0, 0)
			ON CONFLICT (id) DO UPDATE SET expires = excluded.expires WHERE ended = 0`,
			r.ID, r.Name, r.Cluster, r.Namespace, r.Target, r.BuildTag, r.SnapshotID, r.MaskKeyID, r.Snapshot, r.TestConfig, r.Started, r.Expires)
		if err != nil {
			return err
		}
		if err := running(ctx, tx, r.ID); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM keys WHERE replay = ?", r.ID); err != nil {
			return err
		}
		token.Replay = r.ID
		return insertKey(ctx, tx, token)
	})
	if err != nil {
		return fmt.Errorf("replay %q: %w", r.ID, err)
	}
	return nil
}

// RunningReplay fails unless a replay is there (ErrNotFound) and has not ended
// (ErrEnded).
func (c *Catalog) RunningReplay(ctx context.Context, id string) error {
	if err := running(ctx, c.read, id); err != nil {
		return fmt.Errorf("replay %q: %w", id, err)
	}
	return nil
}

// rowQuerier is a database or a transaction.
type rowQuerier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func running(ctx context.Context, in rowQuerier, id string) error {
	var ended int64
	err := in.QueryRowContext(ctx, "SELECT ended FROM replays WHERE id = ?", id).Scan(&ended)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case err == nil && ended != 0:
		return ErrEnded
	}
	return err
}

// Replay returns a replay by its id.
func (c *Catalog) Replay(ctx context.Context, id string) (Replay, error) {
	var r Replay
	err := c.read.QueryRowContext(ctx, `SELECT id, name, cluster, namespace, target, build_tag, snapshot_id, mask_key_id, snapshot, test_config,
		started, expires, ended, status, error, reported, last_event, dropped FROM replays WHERE id = ?`, id).
		Scan(&r.ID, &r.Name, &r.Cluster, &r.Namespace, &r.Target, &r.BuildTag, &r.SnapshotID, &r.MaskKeyID, &r.Snapshot, &r.TestConfig,
			&r.Started, &r.Expires, &r.End.Ended, &r.End.Status, &r.End.Error, &r.End.Reported, &r.End.LastEvent, &r.End.Dropped)
	return r, notFound(err, "replay", id)
}

// NextExpiry returns the replay that runs and expires first.
func (c *Catalog) NextExpiry(ctx context.Context) (id string, expires time.Time, err error) {
	var at int64
	err = c.read.QueryRowContext(ctx, "SELECT id, expires FROM replays WHERE ended = 0 ORDER BY expires LIMIT 1").Scan(&id, &at)
	return id, time.Unix(0, at), notFound(err, "replay", "that runs")
}

// PartLimits bound the parts of one replay.
type PartLimits struct {
	// Count and Bytes are of all parts together.
	Count, Bytes int64
}

// PutPart stores a part of a replay's report, in place of the one of that name. It
// fails with ErrNotFound, ErrEnded, and beyond the limits with ErrFull.
func (c *Catalog) PutPart(ctx context.Context, replay, name string, doc []byte, limits PartLimits) error {
	err := c.update(ctx, func(tx *sql.Tx) error {
		if err := running(ctx, tx, replay); err != nil {
			return err
		}
		var count, bytes int64
		err := tx.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(length(document)), 0) FROM replay_parts WHERE replay = ? AND name != ?",
			replay, name).Scan(&count, &bytes)
		if err != nil {
			return err
		}
		if count+1 > limits.Count || bytes+int64(len(doc)) > limits.Bytes {
			return fmt.Errorf("%w: at most %d parts of %d MiB together", ErrFull, limits.Count, limits.Bytes>>20)
		}
		_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO replay_parts (replay, name, document) VALUES (?, ?, ?)", replay, name, doc)
		return err
	})
	if err != nil {
		return fmt.Errorf("replay %q: %w", replay, err)
	}
	return nil
}

// Part is one agent's part of a replay's report.
type Part struct {
	Name     string
	Document []byte
}

// Parts returns the parts of a replay that runs, by name.
func (c *Catalog) Parts(ctx context.Context, replay string) ([]Part, error) {
	rows, err := c.read.QueryContext(ctx, "SELECT name, document FROM replay_parts WHERE replay = ? ORDER BY name", replay)
	if err != nil {
		return nil, fmt.Errorf("catalog: parts of replay %q: %w", replay, err)
	}
	defer rows.Close()
	var parts []Part
	for rows.Next() {
		var p Part
		if err := rows.Scan(&p.Name, &p.Document); err != nil {
			return nil, fmt.Errorf("catalog: parts of replay %q: %w", replay, err)
		}
		parts = append(parts, p)
	}
	return parts, rows.Err()
}

// EndReplay notes how a replay ended, with its report (nil for none), revokes its
// token and removes its parts. One that has ended is refused with ErrEnded.
func (c *Catalog) EndReplay(ctx context.Context, id string, end ReplayEnd, r *Report) error {
	end.Reported = r != nil
	err := c.update(ctx, func(tx *sql.Tx) error {
		if err := running(ctx, tx, id); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE replays SET snapshot = NULL, test_config = NULL, ended = ?2, status = ?3, error = ?4,
			reported = ?5, last_event = ?6, dropped = ?7 WHERE id = ?1`,
			id, end.Ended, end.Status, end.Error, end.Reported, clamp(end.LastEvent), clamp(end.Dropped))
		if err != nil {
			return err
		}
		if r != nil {
			if err := insertReport(ctx, tx, *r); err != nil {
				return err
			}
		}
		for _, table := range []string{"replay_parts", "replay_received"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE replay = ?", id); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM keys WHERE replay = ?", id)
		return err
	})
	if err != nil {
		return fmt.Errorf("replay %q: %w", id, err)
	}
	return nil
}

package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// Segment is one object of the archive.
type Segment struct {
	// Object is its name in the bucket.
	Object string
	// FirstSeq and LastSeq are the stream sequences of the batches in it.
	FirstSeq, LastSeq uint64
	Rows              int64
	Bytes             int64
	// MinTS and MaxTS bound the pairs' times, in Unix nanoseconds.
	MinTS, MaxTS int64
	// Services are all services in it; empty where they are too many to list.
	Services []string
	// Created is when it was written, in Unix nanoseconds.
	Created int64
}

// Commit is what one step of archiving changes, all of it or nothing.
type Commit struct {
	// Segment is nil where the batches held no pair that is new.
	Segment *Segment
	// Seq is the stream sequence that the archive has reached.
	Seq uint64
	// Seen are the batches that are new, by producer.
	Seen map[string]*Ranges
	// Goodbyes are the producers that ended in order.
	Goodbyes []string
	Losses   []Loss
	// Received adds to what came in during replays.
	Received Received
	// Time is when the batches were seen, in Unix nanoseconds.
	Time int64
}

// Committed returns the last stream sequence that the archive holds.
func (c *Catalog) Committed(ctx context.Context) (uint64, error) {
	var seq uint64
	err := c.read.QueryRowContext(ctx, "SELECT committed_seq FROM progress").Scan(&seq)
	return seq, err
}

// Commit records a step of archiving in one transaction.
func (c *Catalog) Commit(ctx context.Context, step Commit) error {
	err := c.update(ctx, func(tx *sql.Tx) error {
		if step.Segment != nil {
			if err := insertSegment(ctx, tx, *step.Segment); err != nil {
				return err
			}
		}
		for producer, seen := range step.Seen {
			if err := updateProducer(ctx, tx, producer, seen, step.Time); err != nil {
				return err
			}
		}
		for _, producer := range step.Goodbyes {
			if _, err := tx.ExecContext(ctx, "UPDATE producers SET goodbye = 1 WHERE producer = ?", producer); err != nil {
				return err
			}
		}
		if err := insertLosses(ctx, tx, step.Losses); err != nil {
			return err
		}
		if err := insertReceived(ctx, tx, step.Received); err != nil {
			return err
		}
		return changed(tx.ExecContext(ctx, "UPDATE progress SET committed_seq = ?1 WHERE committed_seq < ?1", step.Seq))
	})
	if err != nil {
		return fmt.Errorf("catalog: commit stream sequence %d: %w", step.Seq, err)
	}
	return nil
}

func insertSegment(ctx context.Context, tx *sql.Tx, s Segment) error {
	services, err := json.Marshal(s.Services)
	if err != nil {
		return err
	}
	if s.Services == nil {
		services = []byte("[]")
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO segments
		(object, first_seq, last_seq, rows, bytes, min_ts, max_ts, services, created)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		s.Object, s.FirstSeq, s.LastSeq, s.Rows, s.Bytes, s.MinTS, s.MaxTS, string(services), s.Created)
	return err
}

// Segments returns the segments with pairs between from and to (inclusive, in
// Unix nanoseconds; 0 is open), ordered by their first pair's time.
func (c *Catalog) Segments(ctx context.Context, from, to int64) ([]Segment, error) {
	rows, err := c.read.QueryContext(ctx, `SELECT object, first_seq, last_seq, rows, bytes, min_ts, max_ts, services, created
		FROM segments WHERE (?1 = 0 OR max_ts >= ?1) AND (?2 = 0 OR min_ts <= ?2) ORDER BY min_ts, first_seq`, from, to)
	if err != nil {
		return nil, fmt.Errorf("catalog: segments: %w", err)
	}
	defer rows.Close()
	var segments []Segment
	for rows.Next() {
		var s Segment
		var services string
		if err := rows.Scan(&s.Object, &s.FirstSeq, &s.LastSeq, &s.Rows, &s.Bytes, &s.MinTS, &s.MaxTS, &services, &s.Created); err != nil {
			return nil, fmt.Errorf("catalog: segments: %w", err)
		}
		if err := json.Unmarshal([]byte(services), &s.Services); err != nil {
			return nil, fmt.Errorf("catalog: services of segment %q: %w", s.Object, err)
		}
		segments = append(segments, s)
	}
	return segments, rows.Err()
}

// Totals are what the archive holds.
type Totals struct {
	Segments, Pairs, Bytes uint64
}

// Totals sums up the segments.
func (c *Catalog) Totals(ctx context.Context) (Totals, error) {
	var t Totals
	err := c.read.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(rows), 0), coalesce(sum(bytes), 0) FROM segments").
		Scan(&t.Segments, &t.Pairs, &t.Bytes)
	return t, err
}

// Replace puts one segment in the place of others (none, where with is nil),
// whose objects are left as tombstones. It fails, and changes nothing, where one
// of them is gone.
func (c *Catalog) Replace(ctx context.Context, objects []string, with *Segment, now time.Time) error {
	err := c.update(ctx, func(tx *sql.Tx) error {
		for _, o := range objects {
			if err := changed(tx.ExecContext(ctx, "DELETE FROM segments WHERE object = ?", o)); err != nil {
				return fmt.Errorf("segment %q: %w", o, err)
			}
			if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO tombstones VALUES (?, ?)", o, now.UnixNano()); err != nil {
				return err
			}
		}
		if with == nil {
			return nil
		}
		return insertSegment(ctx, tx, *with)
	})
	if err != nil {
		return fmt.Errorf("catalog: replace segments: %w", err)
	}
	return nil
}

// Tombstones returns the objects that no segment has used since before the time.
func (c *Catalog) Tombstones(ctx context.Context, before time.Time) ([]string, error) {
	return c.strings(ctx, "SELECT object FROM tombstones WHERE since < ?", before.UnixNano())
}

// Bury forgets a tombstone whose object has been deleted.
func (c *Catalog) Bury(ctx context.Context, object string) error {
	_, err := c.write.ExecContext(ctx, "DELETE FROM tombstones WHERE object = ?", object)
	return err
}

// Knows says whether a segment or a tombstone has this object.
func (c *Catalog) Knows(ctx context.Context, object string) (bool, error) {
	var n int
	err := c.read.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM segments WHERE object = ?1) +
		(SELECT count(*) FROM tombstones WHERE object = ?1)`, object).Scan(&n)
	return n > 0, err
}

func (c *Catalog) strings(ctx context.Context, query string, args ...any) ([]string, error) {
	rows, err := c.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

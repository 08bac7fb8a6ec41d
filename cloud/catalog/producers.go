package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	"github.com/speedscale/speedscale/traffic"
)

// Loss is a count of what a producer did not capture or keep.
type Loss struct {
	Producer, Reason, Service, Namespace string
	Direction                            traffic.Direction
	// From and To bound its time, in Unix nanoseconds.
	From, To                  int64
	Pairs, Connections, Bytes uint64
}

// Seen returns the batches seen of a producer; empty for one that is not known.
func (c *Catalog) Seen(ctx context.Context, producer string) (*Ranges, error) {
	list, err := queryRanges(ctx, c.read, producer)
	if err != nil {
		return nil, fmt.Errorf("catalog: batches of producer %q: %w", producer, err)
	}
	return NewRanges(list...), nil
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func queryRanges(ctx context.Context, q querier, producer string) ([]Range, error) {
	rows, err := q.QueryContext(ctx, `SELECT first_batch, last_batch, first_pair, last_pair, from_ts, to_ts
		FROM batch_ranges WHERE producer = ? ORDER BY first_batch`, producer)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Range
	for rows.Next() {
		var r Range
		if err := rows.Scan(&r.FirstBatch, &r.LastBatch, &r.FirstPair, &r.LastPair, &r.From, &r.To); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// updateProducer adds the batches that are new to those seen before.
func updateProducer(ctx context.Context, tx *sql.Tx, producer string, seen *Ranges, now int64) error {
	if _, err := tx.ExecContext(ctx, `INSERT INTO producers VALUES (?1, ?2, 0)
		ON CONFLICT (producer) DO UPDATE SET last_seen = ?2`, producer, now); err != nil {
		return err
	}
	before, err := queryRanges(ctx, tx, producer)
	if err != nil {
		return err
	}
	all := NewRanges(before...)
	for _, r := range seen.All() {
		all.Add(r)
	}
	kept := make(map[Range]bool, len(before))
	for _, r := range before {
		kept[r] = true
	}
	for _, r := range all.All() {
		if kept[r] {
			delete(kept, r)
			continue
		}
		if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO batch_ranges VALUES (?, ?, ?, ?, ?, ?, ?)",
			producer, r.FirstBatch, r.LastBatch, r.FirstPair, r.LastPair, r.From, r.To); err != nil {
			return err
		}
	}
	for r := range kept {
		// The row is gone already where a longer range starts at the same batch.
		if _, err := tx.ExecContext(ctx, "DELETE FROM batch_ranges WHERE producer = ? AND first_batch = ? AND last_batch = ?",
			producer, r.FirstBatch, r.LastBatch); err != nil {
			return err
		}
	}
	return nil
}

func insertLosses(ctx context.Context, tx *sql.Tx, losses []Loss) error {
	for _, l := range losses {
		_, err := tx.ExecContext(ctx, `INSERT INTO losses VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET from_ts = min(from_ts, excluded.from_ts), to_ts = max(to_ts, excluded.to_ts),
			pairs = pairs + excluded.pairs, connections = connections + excluded.connections, bytes = bytes + excluded.bytes`,
			l.Producer, l.Reason, l.Service, l.Namespace, l.Direction, l.To/int64(time.Minute), l.From, l.To,
			clamp(l.Pairs), clamp(l.Connections), clamp(l.Bytes))
		if err != nil {
			return err
		}
	}
	return nil
}

// clamp keeps a count that an agent sent within what SQLite can store.
func clamp(n uint64) int64 { return int64(min(n, math.MaxInt64/4)) }

// Losses returns the losses between from and to (inclusive, in Unix nanoseconds;
// 0 is open) of one service ("" is all), summed up over producers.
func (c *Catalog) Losses(ctx context.Context, from, to int64, service string) ([]Loss, error) {
	rows, err := c.read.QueryContext(ctx, `SELECT reason, service, namespace, direction,
		min(from_ts), max(to_ts), sum(pairs), sum(connections), sum(bytes) FROM losses
		WHERE (?1 = 0 OR to_ts >= ?1) AND (?2 = 0 OR from_ts <= ?2) AND (?3 = '' OR service IN ('', ?3))
		GROUP BY reason, service, namespace, direction ORDER BY 1, 2, 3, 4`, from, to, service)
	if err != nil {
		return nil, fmt.Errorf("catalog: losses: %w", err)
	}
	defer rows.Close()
	var losses []Loss
	for rows.Next() {
		var l Loss
		if err := rows.Scan(&l.Reason, &l.Service, &l.Namespace, &l.Direction, &l.From, &l.To, &l.Pairs, &l.Connections, &l.Bytes); err != nil {
			return nil, fmt.Errorf("catalog: losses: %w", err)
		}
		losses = append(losses, l)
	}
	return losses, rows.Err()
}

// Gap is a run of batches of a producer that never came.
type Gap struct {
	Producer string
	// FirstPair and LastPair number the pairs that are missing and that no
	// counted loss explains.
	FirstPair, LastPair uint64
	// From and To bound their time by the batches around, in Unix nanoseconds.
	From, To int64
}

// Gaps returns the gaps between from and to (inclusive, in Unix nanoseconds; 0
// is open) that are not explained by losses that their producer counted for
// batches that it, or a hop after it, gave up.
func (c *Catalog) Gaps(ctx context.Context, from, to int64) ([]Gap, error) {
	producers, err := c.strings(ctx, `SELECT DISTINCT producer FROM batch_ranges GROUP BY producer
		HAVING count(*) > 1 OR min(first_batch) > 1 ORDER BY producer`)
	if err != nil {
		return nil, fmt.Errorf("catalog: gaps: %w", err)
	}
	var gaps []Gap
	for _, p := range producers {
		list, err := queryRanges(ctx, c.read, p)
		if err != nil {
			return nil, fmt.Errorf("catalog: gaps of producer %q: %w", p, err)
		}
		var counted uint64
		err = c.read.QueryRowContext(ctx, "SELECT coalesce(sum(pairs), 0) FROM losses WHERE producer = ? AND reason IN (?, ?)",
			p, traffic.ReasonUnacked, traffic.ReasonSpoolFull).Scan(&counted)
		if err != nil {
			return nil, fmt.Errorf("catalog: gaps of producer %q: %w", p, err)
		}
		for _, g := range gapsOf(p, list) {
			explained := min(g.LastPair-g.FirstPair+1, counted)
			counted -= explained
			g.FirstPair += explained
			if g.FirstPair <= g.LastPair && (from == 0 || g.To >= from) && (to == 0 || g.From <= to) {
				gaps = append(gaps, g)
			}
		}
	}
	return gaps, nil
}

// gapsOf returns what is missing between, and before, the ranges of a producer.
func gapsOf(producer string, list []Range) []Gap {
	var gaps []Gap
	before := Range{} // batches and pairs are numbered from 1
	for i, r := range list {
		if r.FirstBatch > before.LastBatch+1 && r.FirstPair > before.LastPair+1 {
			g := Gap{Producer: producer, FirstPair: before.LastPair + 1, LastPair: r.FirstPair - 1, From: before.To, To: r.From}
			if i == 0 {
				g.From = g.To
			}
			gaps = append(gaps, g)
		}
		before = r
	}
	return gaps
}

// Vanished returns the producers with pairs between from and to (inclusive, in
// Unix nanoseconds; 0 is open) that said no goodbye and have not been heard of
// since a time.
func (c *Catalog) Vanished(ctx context.Context, from, to int64, since time.Time) ([]string, error) {
	return c.strings(ctx, `SELECT producer FROM producers p WHERE goodbye = 0 AND last_seen < ?3 AND EXISTS (
		SELECT 1 FROM batch_ranges r WHERE r.producer = p.producer AND to_ts > 0
		AND (?1 = 0 OR to_ts >= ?1) AND (?2 = 0 OR from_ts <= ?2)) ORDER BY producer`, from, to, since.UnixNano())
}

// Forget removes losses that ended before a time, and producers not heard of since.
func (c *Catalog) Forget(ctx context.Context, losses, producers time.Time) error {
	return c.update(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM losses WHERE to_ts < ?", losses.UnixNano()); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM batch_ranges WHERE producer IN (SELECT producer FROM producers WHERE last_seen < ?)", producers.UnixNano()); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM producers WHERE last_seen < ?", producers.UnixNano())
		return err
	})
}

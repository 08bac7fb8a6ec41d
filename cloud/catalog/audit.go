package catalog

import (
	"context"
	"database/sql"
	"fmt"
)

// Audit is an entry about a command that was given to a cluster.
type Audit struct {
	// Time is in Unix nanoseconds.
	Time int64
	// Key is the id of the API key that the command came with.
	Key, Cluster string
	// Command is JSON.
	Command []byte
	// Outcome is AuditStarted, AuditDone or what went wrong.
	Outcome string
}

// Outcomes of commands that did not go wrong.
const (
	AuditStarted = "started"
	AuditDone    = "done"
)

// maxAudit is how many entries are kept.
const maxAudit = 100_000

// PutAudit adds an entry, whose outcome is AuditStarted, and returns its number. The
// oldest entry goes where there are too many.
func (c *Catalog) PutAudit(ctx context.Context, a Audit) (id int64, err error) {
	err = c.update(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "INSERT INTO audit (time, key, cluster, command, outcome) VALUES (?, ?, ?, ?, ?)",
			a.Time, a.Key, a.Cluster, a.Command, AuditStarted)
		if err != nil {
			return err
		}
		if id, err = res.LastInsertId(); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM audit WHERE id <= ?", id-maxAudit)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("catalog: audit: %w", err)
	}
	return id, nil
}

// EndAudit enters what became of a command.
func (c *Catalog) EndAudit(ctx context.Context, id int64, outcome string) error {
	err := changed(c.write.ExecContext(ctx, "UPDATE audit SET outcome = ? WHERE id = ?", outcome, id))
	return notFound(err, "audit entry", fmt.Sprint(id))
}

// Audit returns the newest entries, newest first.
func (c *Catalog) Audit(ctx context.Context, limit int) ([]Audit, error) {
	rows, err := c.read.QueryContext(ctx, "SELECT time, key, cluster, command, outcome FROM audit ORDER BY id DESC LIMIT ?", limit)
	if err != nil {
		return nil, fmt.Errorf("catalog: audit: %w", err)
	}
	defer rows.Close()
	var list []Audit
	for rows.Next() {
		var a Audit
		if err := rows.Scan(&a.Time, &a.Key, &a.Cluster, &a.Command, &a.Outcome); err != nil {
			return nil, fmt.Errorf("catalog: audit: %w", err)
		}
		list = append(list, a)
	}
	return list, rows.Err()
}

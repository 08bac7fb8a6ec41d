package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Latest stands for the newest snapshot or report.
const Latest = "latest"

// Snapshot is an entry about a snapshot.
type Snapshot struct {
	ID, Name string
	// Created is in Unix nanoseconds.
	Created int64
	// Document is its snapshot.json.
	Document []byte
}

// PutSnapshot records a snapshot. One that has this id is replaced, or where
// replace is false refused with ErrExists.
func (c *Catalog) PutSnapshot(ctx context.Context, s Snapshot, replace bool) error {
	verb := "INSERT"
	if replace {
		verb = "INSERT OR REPLACE"
	}
	_, err := c.write.ExecContext(ctx, verb+" INTO snapshots VALUES (?, ?, ?, ?)", s.ID, s.Name, s.Created, s.Document)
	if err != nil && strings.Contains(err.Error(), "UNIQUE constraint") {
		return fmt.Errorf("snapshot %q: %w", s.ID, ErrExists)
	}
	return err
}

// Snapshot finds a snapshot by its id, by its name (the newest of that name), or
// as Latest.
func (c *Catalog) Snapshot(ctx context.Context, id string) (Snapshot, error) {
	query := `SELECT id, name, created, document FROM snapshots WHERE id = ?1 OR name = ?1
		ORDER BY (id = ?1) DESC, created DESC LIMIT 1`
	if id == Latest {
		query = "SELECT id, name, created, document FROM snapshots WHERE ?1 != '' ORDER BY created DESC LIMIT 1"
	}
	var s Snapshot
	err := c.read.QueryRowContext(ctx, query, id).Scan(&s.ID, &s.Name, &s.Created, &s.Document)
	return s, notFound(err, "snapshot", id)
}

// Snapshots returns all snapshots, newest first.
func (c *Catalog) Snapshots(ctx context.Context) ([]Snapshot, error) {
	rows, err := c.read.QueryContext(ctx, "SELECT id, name, created, document FROM snapshots ORDER BY created DESC, id")
	if err != nil {
		return nil, fmt.Errorf("catalog: snapshots: %w", err)
	}
	defer rows.Close()
	var all []Snapshot
	for rows.Next() {
		var s Snapshot
		if err := rows.Scan(&s.ID, &s.Name, &s.Created, &s.Document); err != nil {
			return nil, fmt.Errorf("catalog: snapshots: %w", err)
		}
		all = append(all, s)
	}
	return all, rows.Err()
}

// DeleteSnapshot removes the entry of a snapshot, by its id.
func (c *Catalog) DeleteSnapshot(ctx context.Context, id string) error {
	err := changed(c.write.ExecContext(ctx, "DELETE FROM snapshots WHERE id = ?", id))
	return notFound(err, "snapshot", id)
}

// Report is an entry about a replay's report.
type Report struct {
	ID string
	// Created is in Unix nanoseconds.
	Created int64
	// Document is the whole report, Summary what lists show of it, in JSON.
	Document, Summary []byte
}

// PutReport records a report; one that has this id is replaced.
func (c *Catalog) PutReport(ctx context.Context, r Report) error {
	return insertReport(ctx, c.write, r)
}

func insertReport(ctx context.Context, to execer, r Report) error {
	_, err := to.ExecContext(ctx, "INSERT OR REPLACE INTO reports VALUES (?, ?, ?, ?)", r.ID, r.Created, r.Document, r.Summary)
	return err
}

// Report returns the whole report of an id or Latest.
func (c *Catalog) Report(ctx context.Context, id string) ([]byte, error) {
	query := "SELECT document FROM reports WHERE id = ?1"
	if id == Latest {
		query = "SELECT document FROM reports WHERE ?1 != '' ORDER BY created DESC LIMIT 1"
	}
	var doc []byte
	err := c.read.QueryRowContext(ctx, query, id).Scan(&doc)
	return doc, notFound(err, "report", id)
}

// Reports returns the summaries of the newest reports, newest first.
func (c *Catalog) Reports(ctx context.Context, limit int) ([][]byte, error) {
	rows, err := c.read.QueryContext(ctx, "SELECT summary FROM reports ORDER BY created DESC, id LIMIT ?", limit)
	if err != nil {
		return nil, fmt.Errorf("catalog: reports: %w", err)
	}
	defer rows.Close()
	var all [][]byte
	for rows.Next() {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			return nil, fmt.Errorf("catalog: reports: %w", err)
		}
		all = append(all, b)
	}
	return all, rows.Err()
}

// Config returns a named setting, ErrNotFound where it was never put.
func (c *Catalog) Config(ctx context.Context, name string) ([]byte, error) {
	var doc []byte
	err := c.read.QueryRowContext(ctx, "SELECT document FROM configs WHERE name = ?", name).Scan(&doc)
	return doc, notFound(err, "config", name)
}

// PutConfig sets a named setting.
func (c *Catalog) PutConfig(ctx context.Context, name string, doc []byte) error {
	_, err := c.write.ExecContext(ctx, "INSERT OR REPLACE INTO configs VALUES (?, ?, ?)", name, doc, time.Now().UnixNano())
	return err
}

// MaskingKey returns a masking key by its id; "" is the newest.
func (c *Catalog) MaskingKey(ctx context.Context, id string) (keyID string, key []byte, err error) {
	err = c.read.QueryRowContext(ctx, "SELECT id, key FROM masking_keys WHERE ?1 = '' OR id = ?1 ORDER BY created DESC LIMIT 1", id).
		Scan(&keyID, &key)
	return keyID, key, notFound(err, "masking key", id)
}

// PutMaskingKey adds a masking key. Keys are never changed or removed, since
// archived pairs were masked with them.
func (c *Catalog) PutMaskingKey(ctx context.Context, id string, key []byte) error {
	_, err := c.write.ExecContext(ctx, "INSERT INTO masking_keys VALUES (?, ?, ?)", id, key, time.Now().UnixNano())
	return err
}

func notFound(err error, kind, id string) error {
	if errors.Is(err, sql.ErrNoRows) || errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%s %q: %w", kind, id, ErrNotFound)
	}
	return err
}

// Package catalog keeps what the cloud knows about its data in one SQLite file:
// the archive's segments and how far the stream has been archived, the batches
// seen of each producer, losses, snapshots, test configs, replays, reports, API keys,
// settings, and the commands that were given to clusters.
package catalog

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// ErrNotFound says that the catalog has no such entry.
var ErrNotFound = errors.New("not found")

// ErrExists says that an entry of this id is there already.
var ErrExists = errors.New("exists already")

//go:embed schema.sql
var schema1 string

//go:embed schema2.sql
var schema2 string

//go:embed schema3.sql
var schema3 string

//go:embed schema4.sql
var schema4 string

// migrations bring a file from version i (SQLite's user_version) to i+1. One
// that has been released is never changed.
var migrations = []string{schema1, schema2, schema3, schema4}

// Catalog is an open catalog. It is safe for concurrent use. Writes go through
// one connection, so that they wait for one another instead of failing.
type Catalog struct {
	write *sql.DB
	read  *sql.DB
}

// Open opens the catalog in a file, which is made if it does not exist, and
// brings it to the newest schema. Every commit is on disk when it returns, since
// the stream is purged up to what the catalog says is archived.
func Open(ctx context.Context, path string) (*Catalog, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	// The file holds the masking key and hashes of API keys.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	f.Close()
	write, err := open(path, "&_txlock=immediate&_pragma=synchronous(FULL)", 1)
	if err != nil {
		return nil, err
	}
	read, err := open(path, "&_pragma=query_only(1)", 4)
	if err != nil {
		write.Close()
		return nil, err
	}
	c := &Catalog{write: write, read: read}
	if err := c.migrate(ctx, path); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func open(path, pragmas string, conns int) (*sql.DB, error) {
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() +
		"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=foreign_keys(1)" + pragmas
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("catalog %q: %w", path, err)
	}
	db.SetMaxOpenConns(conns)
	return db, nil
}

func (c *Catalog) migrate(ctx context.Context, path string) error {
	var version int
	if err := c.write.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return fmt.Errorf("catalog %q: %w", path, err)
	}
	if version > len(migrations) {
		return fmt.Errorf("catalog %q has schema version %d, newer than this program's %d: use a newer program", path, version, len(migrations))
	}
	for ; version < len(migrations); version++ {
		err := c.update(ctx, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, migrations[version]); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version+1))
			return err
		})
		if err != nil {
			return fmt.Errorf("catalog %q: migrate to version %d: %w", path, version+1, err)
		}
	}
	return nil
}

// Close closes the file.
func (c *Catalog) Close() error {
	return errors.Join(c.read.Close(), c.write.Close())
}

// update runs f in a transaction that is committed when f returns nil.
func (c *Catalog) update(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := c.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// changed turns "no row was changed" into ErrNotFound.
func changed(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return ErrNotFound
}

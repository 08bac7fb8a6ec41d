package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// Key is an entry about an API key. Times are Unix seconds; 0 is never.
type Key struct {
	ID, Name string
	// Hash is the SHA-256 of the key's secret, which is kept nowhere.
	Hash                       []byte
	Scopes                     []string
	Created, Expires, LastUsed int64
	// Replay is the id of the replay whose token the key is; empty for other keys.
	Replay string
}

// PutKey adds an API key.
func (c *Catalog) PutKey(ctx context.Context, k Key) error { return insertKey(ctx, c.write, k) }

// execer is a database or a transaction.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func insertKey(ctx context.Context, to execer, k Key) error {
	_, err := to.ExecContext(ctx, "INSERT INTO keys (id, name, hash, scopes, created, expires, last_used, replay) VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
		k.ID, k.Name, k.Hash, strings.Join(k.Scopes, " "), k.Created, k.Expires, k.Replay)
	return err
}

// Key returns an API key by its id.
func (c *Catalog) Key(ctx context.Context, id string) (Key, error) {
	keys, err := c.keys(ctx, "WHERE id = ?", id)
	if err != nil {
		return Key{}, err
	}
	if len(keys) == 0 {
		return Key{}, fmt.Errorf("key %q: %w", id, ErrNotFound)
	}
	return keys[0], nil
}

// Keys returns all API keys but the tokens of replays, oldest first.
func (c *Catalog) Keys(ctx context.Context) ([]Key, error) {
	return c.keys(ctx, "WHERE replay = '' ORDER BY created, id")
}

func (c *Catalog) keys(ctx context.Context, clause string, args ...any) ([]Key, error) {
	rows, err := c.read.QueryContext(ctx, "SELECT id, name, hash, scopes, created, expires, last_used, replay FROM keys "+clause, args...)
	if err != nil {
		return nil, fmt.Errorf("catalog: keys: %w", err)
	}
	defer rows.Close()
	var keys []Key
	for rows.Next() {
		var k Key
		var scopes string
		if err := rows.Scan(&k.ID, &k.Name, &k.Hash, &scopes, &k.Created, &k.Expires, &k.LastUsed, &k.Replay); err != nil {
			return nil, fmt.Errorf("catalog: keys: %w", err)
		}
		k.Scopes = strings.Fields(scopes)
		keys = append(keys, k)
	}
	return keys, rows.Err()
}

// UsedKey notes when a key was last used.
func (c *Catalog) UsedKey(ctx context.Context, id string, at int64) error {
	_, err := c.write.ExecContext(ctx, "UPDATE keys SET last_used = max(last_used, ?) WHERE id = ?", at, id)
	return err
}

// DeleteKey revokes a key.
func (c *Catalog) DeleteKey(ctx context.Context, id string) error {
	err := changed(c.write.ExecContext(ctx, "DELETE FROM keys WHERE id = ?", id))
	return notFound(err, "key", id)
}

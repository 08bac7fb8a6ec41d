package catalog

import (
	"context"
	"fmt"
	"time"
)

// TestConfig returns a test config by its id.
func (c *Catalog) TestConfig(ctx context.Context, id string) ([]byte, error) {
	var doc []byte
	err := c.read.QueryRowContext(ctx, "SELECT document FROM test_configs WHERE id = ?", id).Scan(&doc)
	return doc, notFound(err, "test config", id)
}

// TestConfigs returns all test configs, by id.
func (c *Catalog) TestConfigs(ctx context.Context) ([][]byte, error) {
	rows, err := c.read.QueryContext(ctx, "SELECT document FROM test_configs ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("catalog: test configs: %w", err)
	}
	defer rows.Close()
	var all [][]byte
	for rows.Next() {
		var doc []byte
		if err := rows.Scan(&doc); err != nil {
			return nil, fmt.Errorf("catalog: test configs: %w", err)
		}
		all = append(all, doc)
	}
	return all, rows.Err()
}

// PutTestConfig records a test config; one that has this id is replaced.
func (c *Catalog) PutTestConfig(ctx context.Context, id string, doc []byte) error {
	_, err := c.write.ExecContext(ctx, "INSERT OR REPLACE INTO test_configs VALUES (?, ?, ?)", id, doc, time.Now().UnixNano())
	return err
}

// DeleteTestConfig removes a test config.
func (c *Catalog) DeleteTestConfig(ctx context.Context, id string) error {
	err := changed(c.write.ExecContext(ctx, "DELETE FROM test_configs WHERE id = ?", id))
	return notFound(err, "test config", id)
}

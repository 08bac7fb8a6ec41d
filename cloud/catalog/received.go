package catalog

import (
	"context"
	"database/sql"
	"fmt"
)

// maxSources bounds the addresses that are kept apart of one replay.
const maxSources = 1000

// Source is an address from which something came in at a workload during a replay.
type Source struct {
	Replay string
	// Namespace is the workload's: a sidecar can tell of replays in its own only.
	Namespace string
	// Address is "" where it is not known.
	Address string
}

// Count is what came in.
type Count struct {
	Requests uint64
	// Connections are those of which no request could be read.
	Connections uint64
}

// Received is what sidecars saw come in during replays.
type Received map[Source]Count

// Add counts more.
func (r Received) Add(from Source, n Count) {
	have := r[from]
	r[from] = Count{have.Requests + n.Requests, have.Connections + n.Connections}
}

// insertReceived adds to what is known of replays that run; a report that is made does
// not change any more.
func insertReceived(ctx context.Context, tx *sql.Tx, received Received) error {
	for from, n := range received {
		_, err := tx.ExecContext(ctx, `INSERT INTO replay_received (replay, source, requests, connections)
			SELECT ?1, iif((SELECT count(*) FROM replay_received WHERE replay = ?1 AND source != ?3) < ?6, ?3, ''), ?4, ?5
			WHERE EXISTS (SELECT 1 FROM replays WHERE id = ?1 AND namespace = ?2 AND ended = 0)
			ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, connections = connections + excluded.connections`,
			from.Replay, from.Namespace, from.Address, clamp(n.Requests), clamp(n.Connections), maxSources)
		if err != nil {
			return err
		}
	}
	return nil
}

// Received returns what came in during a replay that runs.
func (c *Catalog) Received(ctx context.Context, replay string) (Received, error) {
	rows, err := c.read.QueryContext(ctx, "SELECT source, requests, connections FROM replay_received WHERE replay = ?", replay)
	if err != nil {
		return nil, fmt.Errorf("catalog: what came in during replay %q: %w", replay, err)
	}
	defer rows.Close()
	received := make(Received)
	for rows.Next() {
		from, n := Source{Replay: replay}, Count{}
		if err := rows.Scan(&from.Address, &n.Requests, &n.Connections); err != nil {
			return nil, fmt.Errorf("catalog: what came in during replay %q: %w", replay, err)
		}
		received[from] = n
	}
	return received, rows.Err()
}

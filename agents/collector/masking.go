package collector

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"connectrpc.com/connect"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/client"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// callLimit bounds one call of the cloud.
const callLimit = 10 * time.Second

// awaitMasker returns what masks lines, as the snapshot is masked: its rules and its
// key, so that equal values are equal there too. It asks until the cloud answers, since
// nothing may be passed on unmasked; an error says that it never will.
func awaitMasker(ctx context.Context, c *client.Client, snapshotID string, log *slog.Logger) (*mask.Masker, error) {
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		m, err := fetchMasker(ctx, c, snapshotID)
		if err == nil || ctx.Err() != nil || !client.Retryable(err) {
			return m, err
		}
		log.Warn("no masking rules yet, so nothing is collected", "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
	}
}

func fetchMasker(ctx context.Context, c *client.Client, snapshotID string) (*mask.Masker, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	res, err := c.Snapshots.Get(ctx, &cloudv1.GetSnapshotRequest{Id: snapshotID})
	if err != nil {
		return nil, fmt.Errorf("snapshot %q: %w", snapshotID, err)
	}
	var meta snapshot.Meta
	if err := json.Unmarshal(res.GetSnapshot(), &meta); err != nil {
		return nil, fmt.Errorf("snapshot %q: %w", snapshotID, err)
	}
	if meta.Masking == nil {
		return mask.New(mask.Standard(), mask.NewKey())
	}
	config := mask.Standard()
	if len(meta.Masking.Config) > 0 {
		if config, err = mask.ParseConfig(meta.Masking.Config); err != nil {
			return nil, fmt.Errorf("snapshot %q: %w", snapshotID, err)
		}
	}
	masking, err := c.Masking.Get(ctx, &cloudv1.GetMaskingRequest{KeyId: meta.Masking.KeyID})
	if connect.CodeOf(err) == connect.CodeNotFound { // masked by another cloud
		return mask.New(config, mask.NewKey())
	}
	if err != nil {
		return nil, fmt.Errorf("masking key %q: %w", meta.Masking.KeyID, err)
	}
	return mask.New(config, mask.Key{ID: masking.GetKeyId(), Secret: masking.GetKey()})
}

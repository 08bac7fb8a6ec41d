package local

import (
	"context"
	"fmt"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// Masking masks what is compared with a snapshot as the snapshot was masked.
type Masking = mask.Masker

// FetchMasking returns the masker of a snapshot: its own rules, and the key from
// the cloud. It returns nil for a snapshot that is not masked.
func FetchMasking(ctx context.Context, c *client.Client, m *snapshot.Masking) (*Masking, error) {
	if m == nil || m.KeyID == "" {
		return nil, nil
	}
	res, err := c.Masking.Get(ctx, &cloudv1.GetMaskingRequest{KeyId: m.KeyID})
	if err != nil {
		return nil, client.Explain(err)
	}
	cfg, err := mask.ParseConfig(m.Config)
	if err != nil {
		return nil, fmt.Errorf("the snapshot's masking rules: %w", err)
	}
	return mask.New(cfg, mask.Key{ID: res.GetKeyId(), Secret: res.GetKey()})
}

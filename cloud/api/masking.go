package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/catalog"
	"github.com/speedscale/speedscale/traffic/filter"
	"github.com/speedscale/speedscale/traffic/mask"
)

// Names of settings in the catalog.
const (
	configMasking = "masking"
	configFilter  = "filter"
)

// initMasking makes the masking key of a new cloud.
func (a *API) initMasking(ctx context.Context) error {
	if _, _, err := a.o.Catalog.MaskingKey(ctx, ""); errors.Is(err, catalog.ErrNotFound) {
		key := mask.NewKey()
		if err := a.o.Catalog.PutMaskingKey(ctx, key.ID, key.Secret); err != nil {
			return fmt.Errorf("store masking key: %w", err)
		}
	} else if err != nil {
		return err
	}
	return nil
}

// config returns a setting, or where it was never put the standard one of this
// program's version.
func (a *API) config(ctx context.Context, name string) ([]byte, error) {
	doc, err := a.o.Catalog.Config(ctx, name)
	if !errors.Is(err, catalog.ErrNotFound) {
		return doc, err
	}
	if name == configFilter {
		return filter.Standard().JSON(), nil
	}
	return json.Marshal(mask.Standard())
}

// Masking returns the rules, and the key of an id ("" is the current one). It is
// what the bus subject control.masking answers, too.
func (a *API) Masking(ctx context.Context, keyID string) (*cloudv1.Masking, error) {
	m := &cloudv1.Masking{}
	var err error
	if m.KeyId, m.Key, err = a.o.Catalog.MaskingKey(ctx, keyID); err != nil {
		return nil, err
	}
	if m.Config, err = a.config(ctx, configMasking); err != nil {
		return nil, err
	}
	if m.Filter, err = a.config(ctx, configFilter); err != nil {
		return nil, err
	}
	return m, nil
}

type maskingService struct{ *API }

// Get implements cloudv1connect.MaskingServiceHandler.
func (s maskingService) Get(ctx context.Context, r *cloudv1.GetMaskingRequest) (*cloudv1.Masking, error) {
	if id, ok := ofToken(ctx); ok {
		replay, err := s.o.Catalog.Replay(ctx, id)
		if err != nil {
			return nil, err
		}
		if r.GetKeyId() == "" || r.GetKeyId() != replay.MaskKeyID {
			return nil, denied(id, "another masking key than its snapshot's")
		}
	}
	return s.Masking(ctx, r.GetKeyId())
}

// Put implements cloudv1connect.MaskingServiceHandler.
func (s maskingService) Put(ctx context.Context, r *cloudv1.PutMaskingRequest) (*cloudv1.PutMaskingResponse, error) {
	if doc := r.GetConfig(); len(doc) > 0 {
		if _, err := mask.ParseConfig(doc); err != nil {
			return nil, invalid("config: %w", err)
		}
	}
	if doc := r.GetFilter(); len(doc) > 0 {
		if _, err := filter.ParseJSON(doc); err != nil {
			return nil, invalid("filter: %w", err)
		}
	}
	for name, doc := range map[string][]byte{configMasking: r.GetConfig(), configFilter: r.GetFilter()} {
		if len(doc) == 0 {
			continue
		}
		if err := s.o.Catalog.PutConfig(ctx, name, doc); err != nil {
			return nil, err
		}
	}
	return &cloudv1.PutMaskingResponse{}, nil
}

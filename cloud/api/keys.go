package api

import (
	"context"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
)

type keyService struct{ *API }

// Create implements cloudv1connect.KeyServiceHandler.
func (s keyService) Create(ctx context.Context, r *cloudv1.CreateKeyRequest) (*cloudv1.CreateKeyResponse, error) {
	id, key, err := s.o.Keyring.Create(ctx, r.GetName(), r.GetScopes(), r.GetExpires())
	if err != nil {
		return nil, invalid("%w", err)
	}
	s.o.Logger.Info("API key made", "key", id, "name", r.GetName(), "scopes", r.GetScopes())
	return &cloudv1.CreateKeyResponse{Id: id, Key: key}, nil
}

// List implements cloudv1connect.KeyServiceHandler.
func (s keyService) List(ctx context.Context, _ *cloudv1.ListKeysRequest) (*cloudv1.ListKeysResponse, error) {
	keys, err := s.o.Catalog.Keys(ctx)
	if err != nil {
		return nil, err
	}
	res := &cloudv1.ListKeysResponse{}
	for _, k := range keys {
		res.Keys = append(res.Keys, &cloudv1.Key{
			Id: k.ID, Name: k.Name, Scopes: k.Scopes, Created: k.Created, Expires: k.Expires, LastUsed: k.LastUsed,
		})
	}
	return res, nil
}

// Revoke implements cloudv1connect.KeyServiceHandler.
func (s keyService) Revoke(ctx context.Context, r *cloudv1.RevokeKeyRequest) (*cloudv1.RevokeKeyResponse, error) {
	if err := s.o.Catalog.DeleteKey(ctx, r.GetId()); err != nil {
		return nil, err
	}
	s.o.Logger.Info("API key revoked", "key", r.GetId())
	s.o.Revoked(r.GetId())
	return &cloudv1.RevokeKeyResponse{}, nil
}

package api

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"connectrpc.com/connect"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic/testconfig"
)

type testConfigService struct{ *API }

// Get implements cloudv1connect.TestConfigServiceHandler.
func (s testConfigService) Get(ctx context.Context, r *cloudv1.GetTestConfigRequest) (*cloudv1.GetTestConfigResponse, error) {
	c, err := s.o.Replays.TestConfig(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	return &cloudv1.GetTestConfigResponse{TestConfig: c.JSON()}, nil
}

// List implements cloudv1connect.TestConfigServiceHandler.
func (s testConfigService) List(ctx context.Context, _ *cloudv1.ListTestConfigsRequest) (*cloudv1.ListTestConfigsResponse, error) {
	all := testconfig.Builtins()
	stored, err := s.o.Catalog.TestConfigs(ctx)
	if err != nil {
		return nil, err
	}
	for _, doc := range stored {
		c, err := testconfig.Parse(doc)
		if err != nil {
			s.o.Logger.Warn("a stored test config is not understood by this version", "error", err)
			continue
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b testconfig.Config) int { return cmp.Compare(a.ID(), b.ID()) })
	res := &cloudv1.ListTestConfigsResponse{}
	for _, c := range all {
		res.TestConfigs = append(res.TestConfigs, c.JSON())
	}
	return res, nil
}

// Put implements cloudv1connect.TestConfigServiceHandler.
func (s testConfigService) Put(ctx context.Context, r *cloudv1.PutTestConfigRequest) (*cloudv1.PutTestConfigResponse, error) {
	c, err := testconfig.Parse(r.GetTestConfig())
	if err != nil {
		return nil, invalid("%w", err)
	}
	if err := changeable(c.ID()); err != nil {
		return nil, err
	}
	if c.Protected() {
		return nil, invalid("test config %q: protected: only built-in configs are; leave it out", c.ID())
	}
	return &cloudv1.PutTestConfigResponse{}, s.o.Catalog.PutTestConfig(ctx, c.ID(), c.JSON())
}

// Delete implements cloudv1connect.TestConfigServiceHandler.
func (s testConfigService) Delete(ctx context.Context, r *cloudv1.DeleteTestConfigRequest) (*cloudv1.DeleteTestConfigResponse, error) {
	if err := changeable(r.GetId()); err != nil {
		return nil, err
	}
	return &cloudv1.DeleteTestConfigResponse{}, s.o.Catalog.DeleteTestConfig(ctx, r.GetId())
}

// changeable refuses to change a built-in config.
func changeable(id string) error {
	if _, ok := testconfig.Builtin(id); ok {
		return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("test config %q is built in, and protected: put a copy of it under another id", id))
	}
	return nil
}

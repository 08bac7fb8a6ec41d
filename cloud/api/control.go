package api

import (
	"cmp"
	"context"
	"errors"

	"connectrpc.com/connect"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/catalog"
	"github.com/speedscale/speedscale/cloud/control"
)

type controlService struct{ *API }

const (
	defaultAudit = 100
	maxAudit     = 1000
)

// Clusters implements cloudv1connect.ControlServiceHandler.
func (s controlService) Clusters(ctx context.Context, _ *cloudv1.ClustersRequest) (*cloudv1.ClustersResponse, error) {
	clusters, err := s.o.Control.Clusters(ctx)
	return &cloudv1.ClustersResponse{Clusters: clusters}, err
}

// Run implements cloudv1connect.ControlServiceHandler.
func (s controlService) Run(ctx context.Context, r *cloudv1.RunRequest) (*cloudv1.RunResponse, error) {
	key, _ := ctx.Value(callerKey{}).(catalog.Key)
	result, err := s.o.Control.Run(ctx, key.ID, r.GetCluster(), r.GetCommand())
	switch {
	case errors.Is(err, control.ErrInvalid):
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	case errors.Is(err, control.ErrNotConnected):
		return nil, connect.NewError(connect.CodeNotFound, err)
	case errors.Is(err, control.ErrAmbiguous):
		return nil, connect.NewError(connect.CodeFailedPrecondition, err)
	case err != nil:
		return nil, err
	}
	return &cloudv1.RunResponse{Result: result}, nil
}

// Audit implements cloudv1connect.ControlServiceHandler.
func (s controlService) Audit(ctx context.Context, r *cloudv1.AuditRequest) (*cloudv1.AuditResponse, error) {
	limit := cmp.Or(r.GetLimit(), defaultAudit)
	if limit < 0 || limit > maxAudit {
		return nil, invalid("limit %d: want 1 to %d entries", limit, maxAudit)
	}
	list, err := s.o.Catalog.Audit(ctx, int(limit))
	if err != nil {
		return nil, err
	}
	res := &cloudv1.AuditResponse{}
	for _, a := range list {
		res.Entries = append(res.Entries, &cloudv1.AuditEntry{Time: a.Time, Key: a.Key, Cluster: a.Cluster, Command: a.Command, Outcome: a.Outcome})
	}
	return res, nil
}

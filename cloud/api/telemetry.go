package api

import (
	"context"
	"time"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
)

type telemetryService struct{ *API }

// Clusters implements cloudv1connect.TelemetryServiceHandler.
func (s telemetryService) Clusters(context.Context, *cloudv1.TelemetryClustersRequest) (*cloudv1.TelemetryClustersResponse, error) {
	clusters := s.o.Telemetry.Clusters("")
	for _, c := range clusters {
		c.Sidecars = nil
	}
	return &cloudv1.TelemetryClustersResponse{Clusters: clusters}, nil
}

// Agents implements cloudv1connect.TelemetryServiceHandler.
func (s telemetryService) Agents(_ context.Context, r *cloudv1.TelemetryAgentsRequest) (*cloudv1.TelemetryAgentsResponse, error) {
	if r.GetCluster() == "" {
		return nil, invalid("cluster is empty: name one of those that Clusters lists")
	}
	return &cloudv1.TelemetryAgentsResponse{Clusters: s.o.Telemetry.Clusters(r.GetCluster()), Time: time.Now().UnixNano()}, nil
}

package api

import (
	"context"

	"connectrpc.com/connect"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
)

type replayService struct{ *API }

// Start implements cloudv1connect.ReplayServiceHandler.
func (s replayService) Start(ctx context.Context, r *cloudv1.StartReplayRequest) (*cloudv1.StartReplayResponse, error) {
	return s.o.Replays.Start(ctx, r)
}

// Publish implements cloudv1connect.ReplayServiceHandler.
func (s replayService) Publish(ctx context.Context, r *cloudv1.PublishRequest) (*cloudv1.PublishResponse, error) {
	if token, ok := ofToken(ctx); ok {
		if r.GetReplayId() != token {
			return nil, denied(token, "another replay")
		}
		for _, e := range r.GetEvents() {
			if e.GetPhase() != nil {
				return nil, denied(token, "the phases of the replay, which its operator publishes")
			}
		}
	}
	return &cloudv1.PublishResponse{}, s.o.Replays.Publish(ctx, r.GetReplayId(), r.GetEvents())
}

// PutPart implements cloudv1connect.ReplayServiceHandler.
func (s replayService) PutPart(ctx context.Context, r *cloudv1.PutPartRequest) (*cloudv1.PutPartResponse, error) {
	if token, ok := ofToken(ctx); ok && r.GetReplayId() != token {
		return nil, denied(token, "another replay")
	}
	return &cloudv1.PutPartResponse{}, s.o.Replays.PutPart(ctx, r.GetReplayId(), r.GetName(), r.GetPart())
}

// End implements cloudv1connect.ReplayServiceHandler.
func (s replayService) End(ctx context.Context, r *cloudv1.EndReplayRequest) (*cloudv1.EndReplayResponse, error) {
	return s.o.Replays.End(ctx, r)
}

// Watch implements cloudv1connect.ReplayServiceHandler.
func (s replayService) Watch(ctx context.Context, r *cloudv1.WatchReplayRequest, out *connect.ServerStream[cloudv1.ReplayEvent]) error {
	// The headers say at once that the replay is followed: its first event may be long
	// in coming.
	if err := out.Send(nil); err != nil {
		return err
	}
	return s.o.Replays.Follow(ctx, r.GetId(), r.GetAfter(), out.Send)
}

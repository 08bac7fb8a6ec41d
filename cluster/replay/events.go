package replay

import (
	"context"
	"time"

	"connectrpc.com/connect"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/client"
)

// Watcher streams the events of replays: the cloud's ReplayService.
type Watcher interface {
	Watch(context.Context, *cloudv1.WatchReplayRequest) (*connect.ServerStreamForClient[cloudv1.ReplayEvent], error)
}

// event is one of the stream, or why there will be none.
type event struct {
	event *cloudv1.ReplayEvent
	lost  error
}

// rewatchEvery is how soon a stream that broke, or is not there yet, is asked for again.
const rewatchEvery = time.Second

// watch passes on a replay's events, each once, until the last one, the context's end,
// or an error that will not go away.
func watch(ctx context.Context, w Watcher, id string, to chan<- event) {
	var after uint64
	for {
		last, err := watchOnce(ctx, w, id, &after, to)
		if last || ctx.Err() != nil {
			return
		}
		// The operator enters the replay in the cloud a moment after it was made.
		if err != nil && connect.CodeOf(err) != connect.CodeNotFound && !client.Retryable(err) {
			send(ctx, to, event{lost: client.Message(err)})
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(rewatchEvery):
		}
	}
}

func watchOnce(ctx context.Context, w Watcher, id string, after *uint64, to chan<- event) (last bool, err error) {
	stream, err := w.Watch(ctx, &cloudv1.WatchReplayRequest{Id: id, After: *after})
	if err != nil {
		return false, err
	}
	defer stream.Close()
	for stream.Receive() {
		e := stream.Msg()
		*after = e.GetSequence()
		send(ctx, to, event{event: e})
		if e.GetEnd() != nil {
			return true, nil
		}
	}
	return false, stream.Err()
}

func send(ctx context.Context, to chan<- event, e event) {
	select {
	case to <- e:
	case <-ctx.Done():
	}
}

package api

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/archive"
	"github.com/speedscale/speedscale/cloud/ingest"
	"github.com/speedscale/speedscale/traffic"
)

const (
	// followLimit bounds one call that follows. The client makes another.
	followLimit = 30 * time.Minute
	// beat is how often a call that follows says something, so that both sides notice
	// when the other one is gone.
	beat = 10 * time.Second
)

// follow sends what the archive has and then what arrives. Batches that arrive while
// the archive is read wait in a bounded queue, of which a slow client misses some;
// nothing waits for a client.
func (s trafficService) follow(ctx context.Context, r *cloudv1.SearchRequest, q archive.Query, o *sender) error {
	if r.GetSelection().GetEnd() != 0 {
		return invalid("a call that follows has no end: leave end out")
	}
	arriving, err := s.o.Ingest.Follow()
	if errors.Is(err, ingest.ErrFollowers) {
		return connect.NewError(connect.CodeResourceExhausted, err)
	}
	if err != nil {
		return connect.NewError(connect.CodeUnavailable, err)
	}
	defer arriving.Close()
	end, cancel := context.WithTimeout(ctx, followLimit)
	defer cancel()
	// All before what arrives is archived then, and so nothing is between the two.
	if err := s.flush(ctx); err != nil {
		return connect.NewError(connect.CodeUnavailable, err)
	}
	committed, err := s.o.Catalog.Committed(ctx)
	if err != nil {
		return err
	}
	q.After = r.GetAfter()
	if err := o.scan(s.o.Archive.Scan(ctx, q)); err != nil {
		return ended(o, err)
	}
	o.res.Live, o.res.Sequence = true, max(committed, r.GetAfter())
	if err := o.send(); err != nil {
		return err
	}
	for end.Err() == nil {
		if err := s.arrived(end, arriving, committed, q.Match, o); err != nil {
			return ended(o, err)
		}
	}
	return ctx.Err()
}

// ended ends a call: well where it has sent as much as it should.
func ended(o *sender, err error) error {
	switch {
	case errors.Is(err, errLimit):
		return o.flush()
	case errors.Is(err, ingest.ErrStopping):
		return connect.NewError(connect.CodeUnavailable, err)
	}
	return err
}

// arrived sends what arrives next, or a beat. What is committed was sent before.
func (s trafficService) arrived(ctx context.Context, f *ingest.Follower, committed uint64, match func(*traffic.RRPair) bool, o *sender) error {
	wait, cancel := context.WithTimeout(ctx, beat)
	defer cancel()
	batches, err := f.Next(wait)
	if err != nil && wait.Err() == nil {
		return err
	}
	for _, b := range batches {
		if b.Sequence <= committed {
			continue
		}
		o.res.Skipped += b.Skipped
		for _, record := range b.Records {
			p := &traffic.RRPair{}
			if err := proto.Unmarshal(record, p); err != nil {
				return err // the archiver has read it
			}
			if !match(p) {
				continue
			}
			if err := o.add(p); err != nil {
				return err
			}
		}
		o.res.Sequence = b.Sequence // of the messages from here on
	}
	return o.send()
}

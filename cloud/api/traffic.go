package api

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/archive"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
)

const (
	// A message of Search has so many pairs, or bytes, at most.
	searchPairs = 100
	searchBytes = 512 << 10
	// flushTimeout bounds the wait for what was captured last.
	flushTimeout = 30 * time.Second
)

// query compiles a selection.
func query(sel *cloudv1.Selection) (archive.Query, error) {
	f, err := filter.Parse(sel.GetQuery())
	if err != nil {
		return archive.Query{}, invalid("query: %w", err)
	}
	start, end, service := sel.GetStart(), sel.GetEnd(), sel.GetService()
	if start < 0 || end < 0 || end != 0 && start >= end {
		return archive.Query{}, invalid("start %d and end %d leave no time between them", start, end)
	}
	q := archive.Query{Bounds: f.Bounds(), Columns: f.Columns()}
	b := &q.Bounds
	b.From = max(b.From, start)
	if end != 0 && (b.To == 0 || end < b.To) {
		b.To = end
	}
	if service != "" {
		b.Services = []string{service}
	}
	q.Match = func(p *traffic.RRPair) bool {
		return p.Ts >= start && (end == 0 || p.Ts < end) && (service == "" || p.Service == service) && f.Match(p)
	}
	return q, nil
}

type trafficService struct{ *API }

// Search implements cloudv1connect.TrafficServiceHandler.
func (s trafficService) Search(ctx context.Context, r *cloudv1.SearchRequest, out *connect.ServerStream[cloudv1.SearchResponse]) error {
	q, err := query(r.GetSelection())
	if err != nil {
		return err
	}
	if r.GetLimit() < 0 {
		return invalid("limit %d is negative", r.GetLimit())
	}
	if err := s.flush(ctx); err != nil {
		// What is archived can be searched all the same; Ingest says what is wrong.
		s.o.Logger.Warn("a search does not see what was captured last", "error", err)
	}
	var res cloudv1.SearchResponse
	var sent int64
	size := 0
	for p, err := range s.o.Archive.Scan(ctx, q) {
		if err != nil {
			return err
		}
		res.Pairs = append(res.Pairs, p)
		sent++
		if size += proto.Size(p); len(res.Pairs) == searchPairs || size >= searchBytes {
			if err := out.Send(&res); err != nil {
				return err
			}
			res.Pairs, size = res.Pairs[:0], 0
		}
		if sent == r.GetLimit() {
			break
		}
	}
	if len(res.Pairs) == 0 {
		return nil
	}
	return out.Send(&res)
}

// flush has everything that agents were acknowledged in the archive.
func (a *API) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	return a.o.Ingest.Flush(ctx)
}

// Ingest implements cloudv1connect.TrafficServiceHandler.
func (s trafficService) Ingest(ctx context.Context, r *cloudv1.IngestRequest) (*cloudv1.IngestResponse, error) {
	if r.GetFlush() {
		if err := s.flush(ctx); err != nil {
			return nil, connect.NewError(connect.CodeUnavailable, err)
		}
	}
	t, err := s.o.Catalog.Totals(ctx)
	if err != nil {
		return nil, err
	}
	waiting, refused, err := s.o.Ingest.Status(ctx)
	if err != nil {
		return nil, err
	}
	return &cloudv1.IngestResponse{Pairs: t.Pairs, Segments: t.Segments, Bytes: t.Bytes, Waiting: waiting, Refused: refused}, nil
}

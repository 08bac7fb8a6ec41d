package api

import (
	"context"
	"errors"
	"iter"
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
	start, end, service, namespace := sel.GetStart(), sel.GetEnd(), sel.GetService(), sel.GetNamespace()
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
	if namespace != "" {
		b.Namespaces = []string{namespace}
	}
	q.Match = func(p *traffic.RRPair) bool {
		return p.Ts >= start && (end == 0 || p.Ts < end) && (service == "" || p.Service == service) &&
			(namespace == "" || p.Namespace == namespace) && f.Match(p)
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
	o := &sender{out: out, limit: r.GetLimit()}
	if r.GetFollow() {
		return s.follow(ctx, r, q, o)
	}
	if err := s.flush(ctx); err != nil {
		// What is archived can be searched all the same; Ingest says what is wrong.
		s.o.Logger.Warn("a search does not see what was captured last", "error", err)
	}
	if err := o.scan(s.o.Archive.Scan(ctx, q)); err != nil && !errors.Is(err, errLimit) {
		return err
	}
	return o.flush()
}

// sender sends pairs in messages of a bounded size.
type sender struct {
	out   *connect.ServerStream[cloudv1.SearchResponse]
	limit int64 // 0: none
	sent  int64
	res   cloudv1.SearchResponse
	size  int
}

// errLimit says that the limit is reached.
var errLimit = errors.New("limit reached")

// add sends a pair with this message or the next. It returns errLimit with the last.
func (o *sender) add(p *traffic.RRPair) error {
	o.res.Pairs = append(o.res.Pairs, p)
	o.sent++
	if o.size += proto.Size(p); len(o.res.Pairs) == searchPairs || o.size >= searchBytes {
		if err := o.flush(); err != nil {
			return err
		}
	}
	if o.sent == o.limit {
		return errLimit
	}
	return nil
}

// flush sends what there is.
func (o *sender) flush() error {
	if len(o.res.Pairs) == 0 {
		return nil
	}
	return o.send()
}

func (o *sender) send() error {
	err := o.out.Send(&o.res)
	o.res.Pairs, o.size = o.res.Pairs[:0], 0
	o.res.Live, o.res.Skipped = false, 0
	return err
}

func (o *sender) scan(pairs iter.Seq2[*traffic.RRPair, error]) error {
	for p, err := range pairs {
		if err == nil {
			err = o.add(p)
		}
		if err != nil {
			return err
		}
	}
	return nil
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

package client_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/api/v1/cloudv1connect"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/traffic"
)

// calls is a TrafficService that answers call after call.
type calls struct {
	cloudv1connect.UnimplementedTrafficServiceHandler
	n      atomic.Int32
	answer func(call int, r *cloudv1.SearchRequest, send func(*cloudv1.SearchResponse)) error
}

func (c *calls) Search(_ context.Context, r *cloudv1.SearchRequest, out *connect.ServerStream[cloudv1.SearchResponse]) error {
	return c.answer(int(c.n.Add(1)), r, func(m *cloudv1.SearchResponse) { out.Send(m) })
}

func followed(t *testing.T, limit int64, c *calls) (pairs []string, waiting []string, err error) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(cloudv1connect.NewTrafficServiceHandler(c))
	server := httptest.NewServer(mux)
	defer server.Close()
	dir := home.Dir(t.TempDir())
	if err := dir.Save(&home.Config{CurrentContext: "c", Contexts: []home.Context{{Name: "c", AppURL: server.URL, APIKey: "k"}}}); err != nil {
		t.Fatal(err)
	}
	f := client.Follow{Limit: limit, Selection: &cloudv1.Selection{}, Connect: func(ctx context.Context, running bool) (*client.Client, error) {
		return client.Connect(ctx, client.Options{Home: dir, Running: running, Logger: slog.New(slog.DiscardHandler)})
	}}
	err = f.Run(t.Context(), func(a client.Arrival) error {
		for _, p := range a.Pairs {
			pairs = append(pairs, p.Location)
		}
		if a.Waiting != "" {
			waiting = append(waiting, a.Waiting)
		}
		return nil
	})
	return pairs, waiting, err
}

func located(names ...string) (pairs []*traffic.RRPair) {
	for _, name := range names {
		pairs = append(pairs, &traffic.RRPair{Uuid: append(make([]byte, 15), name[0]), Location: name})
	}
	return pairs
}

// TestFollowGoesOn: over calls that end in good order, with an error and with the cloud,
// each pair is told once, and the cloud is told where to go on.
func TestFollowGoesOn(t *testing.T) {
	var after []uint64
	c := &calls{answer: func(call int, r *cloudv1.SearchRequest, send func(*cloudv1.SearchResponse)) error {
		after = append(after, r.GetAfter())
		if !r.GetFollow() || call > 1 && r.GetLimit() != 0 {
			t.Errorf("call %d is %v", call, r)
		}
		switch call {
		case 1:
			send(&cloudv1.SearchResponse{Pairs: located("a", "b")})
			send(&cloudv1.SearchResponse{Live: true, Sequence: 7})
			send(&cloudv1.SearchResponse{Pairs: located("b", "c"), Sequence: 9})
			return nil
		case 2:
			return connect.NewError(connect.CodeUnavailable, errors.New("being stopped"))
		}
		send(&cloudv1.SearchResponse{Pairs: located("c", "d"), Live: true, Sequence: 12})
		send(&cloudv1.SearchResponse{Pairs: located("e", "f"), Sequence: 13})
		return nil
	}}
	pairs, waiting, err := followed(t, 5, c)
	if err != nil || strings.Join(pairs, "") != "abcde" {
		t.Errorf("pairs are %v, error is %v", pairs, err)
	}
	if len(waiting) != 1 || waiting[0] != "the cloud is away: being stopped" {
		t.Errorf("it waits for %q", waiting)
	}
	if len(after) != 3 || after[0] != 0 || after[1] != 9 || after[2] != 9 {
		t.Errorf("it goes on after %v", after)
	}
}

// TestFollowEndsWhereItMust: a refusal, and a cloud that does not know how, end it.
func TestFollowEndsWhereItMust(t *testing.T) {
	_, _, err := followed(t, 0, &calls{answer: func(int, *cloudv1.SearchRequest, func(*cloudv1.SearchResponse)) error {
		return connect.NewError(connect.CodePermissionDenied, errors.New("the key has no scope read"))
	}})
	if err == nil || err.Error() != "the key has no scope read" {
		t.Errorf("error is %v", err)
	}
	_, _, err = followed(t, 0, &calls{answer: func(_ int, _ *cloudv1.SearchRequest, send func(*cloudv1.SearchResponse)) error {
		send(&cloudv1.SearchResponse{Pairs: located("a")})
		return nil
	}})
	if err == nil || !strings.Contains(err.Error(), "version that cannot be followed") {
		t.Errorf("error is %v", err)
	}
}

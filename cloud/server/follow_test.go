package server_test

import (
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/nats-io/nats.go"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/server"
)

// sendBatches publishes batches of a pair of each service, while others follow.
func sendBatches(t *testing.T, nc *nats.Conn, producer string, from, to uint64) (uuids []string) {
	t.Helper()
	for seq := from; seq <= to; seq++ {
		b := newBatch(producer, seq, 3)
		if err := publish(t, nc, b); err != nil {
			t.Fatal(err)
		}
		for _, p := range b.Pairs {
			if p.Service == "svc1" {
				uuids = append(uuids, string(p.Uuid))
			}
		}
	}
	return uuids
}

// follow reads a call that follows until it has had n pairs after live.
func (c *cloud) follow(t *testing.T, r *cloudv1.SearchRequest, live func(), n int) (got []string, sequence uint64) {
	t.Helper()
	stream, err := c.traffic.Search(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	want := -1
	for want != len(got) && stream.Receive() {
		m := stream.Msg()
		for _, p := range m.GetPairs() {
			got = append(got, string(p.Uuid))
			if p.Service != r.GetSelection().GetService() {
				t.Errorf("a pair of service %q", p.Service)
			}
		}
		if m.GetSkipped() != 0 {
			t.Errorf("%d pairs skipped", m.GetSkipped())
		}
		sequence = m.GetSequence()
		if m.GetLive() {
			want = len(got) + n
			live()
		}
	}
	if stream.Err() != nil {
		t.Fatal(stream.Err())
	}
	return got, sequence
}

// TestFollow: what was captured comes, then what arrives, all of it and in order, while
// segments are written all the time; and a second call goes on where the first ended.
func TestFollow(t *testing.T) {
	o := server.Options{DataDir: t.TempDir()}
	o.Ingest.SegmentAge = 5 * time.Millisecond
	c := start(t, o, "")
	nc := c.agent(t, c.key)
	waitConnected(t, nc)
	want := sendBatches(t, nc, "p", 1, 50)
	r := &cloudv1.SearchRequest{Follow: true, Selection: &cloudv1.Selection{Service: "svc1"}}
	got, sequence := c.follow(t, r, func() { want = append(want, sendBatches(t, nc, "p", 51, 150)...) }, 100)
	if !slices.Equal(got, want) {
		t.Errorf("%d pairs, want %d in the order that they were sent", len(got), len(want))
	}
	// While nobody follows, some arrive, and the call after has them but not the others.
	missed := sendBatches(t, nc, "p", 151, 160)
	r.After = sequence
	again, _ := c.follow(t, r, func() { missed = append(missed, sendBatches(t, nc, "p", 161, 170)...) }, 10)
	for _, id := range missed {
		if !slices.Contains(again, id) {
			t.Fatal("a pair that arrived between two calls is missing")
		}
	}
	if len(again) > len(missed)+100 { // a segment may have some that were sent before
		t.Errorf("%d pairs come again", len(again)-len(missed))
	}
	pairs, err := c.search(t, &cloudv1.SearchRequest{Follow: true, Limit: 20})
	if err != nil || len(pairs) != 20 {
		t.Errorf("with a limit: %d pairs, %v", len(pairs), err)
	}
	_, err = c.search(t, &cloudv1.SearchRequest{Follow: true, Selection: &cloudv1.Selection{End: 5}})
	if code(err) != connect.CodeInvalidArgument {
		t.Errorf("with an end: %v", err)
	}
	if pairs, err = c.search(t, &cloudv1.SearchRequest{Selection: &cloudv1.Selection{Namespace: "other"}}); err != nil || len(pairs) != 0 {
		t.Errorf("of another namespace: %d pairs, %v", len(pairs), err)
	}
}

// TestFollowersDoNotHoldUpTheEnd: a cloud ends while someone follows, and says why.
func TestFollowersDoNotHoldUpTheEnd(t *testing.T) {
	c := start(t, server.Options{DataDir: t.TempDir()}, "")
	stream, err := c.traffic.Search(t.Context(), &cloudv1.SearchRequest{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() || !stream.Msg().GetLive() {
		t.Fatalf("not live: %v", stream.Err())
	}
	began := time.Now()
	stopped := make(chan struct{})
	go func() { defer close(stopped); c.stop() }()
	if stream.Receive() || code(stream.Err()) != connect.CodeUnavailable {
		t.Errorf("error is %v", stream.Err())
	}
	stream.Close()
	<-stopped
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("the end took %v", d)
	}
}

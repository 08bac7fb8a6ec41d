package responder_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/speedscale/speedscale/agents/responder"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

type recorder struct {
	mu    sync.Mutex
	pairs []*traffic.RRPair
}

func (r *recorder) Pair(p *traffic.RRPair) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pairs = append(r.pairs, p)
}

// TestPassthroughAndRecord: a miss goes to the real host as the app sent it, and
// is kept masked.
func TestPassthroughAndRecord(t *testing.T) {
	var seen http.Header
	var seenBody, seenHost string
	real, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		seen, seenBody, seenHost = r.Header, string(b), r.Host
		w.Header().Set("X-Real", "1")
		w.WriteHeader(201)
		io.WriteString(w, `{"token":"`+secret+`"}`)
	})}
	go srv.Serve(real)
	defer srv.Close()
	upstream := responder.Upstream{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr != "api.test:80" {
			return nil, fmt.Errorf("dialled %s", addr)
		}
		return (&net.Dialer{}).DialContext(ctx, network, real.Addr().String())
	}}
	kept := &recorder{}
	r, addr := start(t, responder.Options{
		Reactions: pairs(recorded("GET", "/", "", "recorded")), OnMiss: responder.Record, Recorder: kept,
		Masker: newMasker(t), Upstream: upstream,
	})
	c := client(t, addr, nil)
	status, body := fetch(t, c, "POST", "http://api.test/new?x=1", `{"password":"`+secret+`"}`, "Authorization", "Bearer "+secret, "Content-Type", "application/json")
	if status != 201 || body != `{"token":"`+secret+`"}` {
		t.Errorf("answered %d %q", status, body)
	}
	if seen.Get("Authorization") != "Bearer "+secret || seenBody != `{"password":"`+secret+`"}` || seenHost != "api.test" {
		t.Errorf("the real host got %v %q for %s", seen, seenBody, seenHost)
	}
	if status, body := fetch(t, c, "GET", "http://api.test/", ""); status != 200 || body != "recorded" {
		t.Errorf("a recorded request: %d %q", status, body)
	}
	if s := r.Stats(); s.Passthrough != 1 || s.Matched != 1 || s.Missed != 0 {
		t.Errorf("stats %+v", s)
	}
	if len(kept.pairs) != 1 {
		t.Fatalf("recorded %d pairs, want 1", len(kept.pairs))
	}
	p := kept.pairs[0]
	if strings.Contains(p.String(), secret) {
		t.Errorf("the recorded pair shows the secret: %v", p)
	}
	if snapshot.SliceKey(p) != "shop:api.test:80" || p.Http.Res.StatusCode != 201 || p.Command != "POST" || p.Location != "/new" || p.Duration <= 0 {
		t.Errorf("recorded %v", p)
	}
	gone, goneAddr := start(t, responder.Options{Reactions: pairs(recorded("GET", "/", "", "")), OnMiss: responder.Passthrough,
		Upstream: responder.Upstream{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }}})
	if status, _ := fetch(t, client(t, goneAddr, nil), "GET", "http://api.test/new", ""); status != 502 || gone.Stats().Missed != 1 {
		t.Errorf("a host that is away: %d, %+v", status, gone.Stats())
	}
}

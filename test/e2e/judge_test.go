package e2e

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"github.com/speedscale/speedscale/cloud/server"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// objects are the names of the Parquet files below a folder.
func objects(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // deleted meanwhile
		}
		if err != nil || e.IsDir() || filepath.Ext(path) != ".parquet" {
			return err
		}
		name, err := filepath.Rel(dir, path)
		names = append(names, filepath.ToSlash(name))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// judge compares what was acknowledged with what is in the archive, as DuckDB reads
// it, and with what a snapshot of it states as lost.
func (k *killer) judge(w *witness) {
	k.t.Helper()
	meta := k.snapshot()
	out := filepath.Join(k.t.TempDir(), "rows.csv")
	cmd := exec.Command("node", "parquet.mjs", filepath.Join(k.d.dir, "cloud", "archive"), out)
	cmd.Dir = "npm"
	printed, err := cmd.CombinedOutput()
	if err != nil {
		k.t.Fatalf("duckdb: %v\n%s", err, printed)
	}
	var counts struct{ Rows, UUIDs int }
	if err := json.Unmarshal(printed, &counts); err != nil {
		k.t.Fatalf("duckdb: %v\n%s", err, printed)
	}
	if counts.Rows != counts.UUIDs {
		k.t.Errorf("DuckDB finds %d rows with %d uuids", counts.Rows, counts.UUIDs)
	}
	f, err := os.Open(out)
	if err != nil {
		k.t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		k.t.Fatal(err)
	}
	archived, paths := map[string]bool{}, map[string]int{}
	for _, r := range rows {
		archived[r[0]] = true
		paths[r[1]]++
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	missing := 0
	for id := range w.acked {
		if !archived[id] {
			missing++
		}
	}
	if least := k.crowd.total / 4; len(w.acked) < least {
		k.t.Errorf("only %d pairs were acknowledged, want %d at least", len(w.acked), least)
	}
	if missing > 0 {
		k.t.Errorf("%d of %d acknowledged pairs are not in the archive", missing, len(w.acked))
	}
	for id := range archived {
		if _, ok := w.byID[id]; !ok {
			k.t.Errorf("the archive has a pair that nobody published: %s", id)
		}
	}
	k.t.Logf("DuckDB: %d rows, %d uuids; %d pairs acknowledged; the forwarder refused %d batches", counts.Rows, counts.UUIDs, len(w.acked), w.refused)
	k.judgeLosses(w, paths, meta)
}

// judgeLosses wants each request that is not in the archive to be stated as lost,
// or to be one of the last of a relay that was killed, which is stated too.
func (k *killer) judgeLosses(w *witness, paths map[string]int, meta *snapshot.Meta) {
	k.t.Helper()
	var stated uint64
	var killed snapshot.Loss // the relays, as those that took their places state it
	for _, l := range meta.Losses {
		stated += l.Pairs
		k.t.Logf("stated: %s from %v to %v: %s", l.Reason, l.From, l.To, l.Size())
		if l.Reason == traffic.ReasonNoGoodbye {
			killed = l
		}
	}
	// A relay publishes pairs in their order, some batches at a time: what was
	// answered well before the newest pair that was acknowledged is not lost.
	const slack = 5 * time.Second
	var deaths []outage
	for _, p := range meta.Vanished {
		for _, o := range k.crowd.outages {
			if last := w.newest[p]; o.gone.After(last) {
				deaths = append(deaths, outage{from: last.Add(-slack), to: o.to})
				break
			}
		}
	}
	// One that was killed before the forwarder had heard of it.
	for _, o := range k.crowd.outages {
		if !killed.From.After(o.from) && !killed.To.Before(o.from) {
			deaths = append(deaths, outage{from: o.gone.Add(-slack), to: o.to})
		}
	}
	unexplained, vanished := uint64(0), 0
	for path, at := range k.crowd.answered {
		if paths[path] > 0 {
			continue
		}
		if slices.ContainsFunc(deaths, func(o outage) bool { return at.After(o.from) && at.Before(o.to) }) {
			vanished++
		} else {
			unexplained++
		}
	}
	k.t.Logf("%d pairs were not acknowledged when their relay was killed; %d vanished producers are stated", vanished, len(meta.Vanished))
	if unexplained > stated {
		k.t.Errorf("%d answered requests are not in the archive, and %d pairs are stated as lost", unexplained, stated)
		for _, o := range k.crowd.outages {
			k.t.Logf("the proxy was away from %v to %v", o.from, o.to)
		}
		for _, o := range deaths {
			k.t.Logf("a producer vanished with pairs from %v to %v", o.from, o.to)
		}
	}
	// The supervisor's own death ends what it knows, and is told of by a goodbye, or by none.
	for _, o := range k.crowd.outages {
		if o.relay && (killed.From.After(o.from) || killed.To.Before(o.from)) {
			k.t.Errorf("that a relay was killed at %v is not stated: from %v to %v", o.from, killed.From, killed.To)
		}
	}
	// The relay of a proxy that was killed says goodbye if the forwarder is there.
	if got, most := len(meta.Vanished), k.killed.relay+k.killed.proxy; got == 0 || got > most {
		k.t.Errorf("%d vanished producers are stated; %d relays and proxies were killed", got, most)
	}
}

// snapshot takes one of all there is; a server in this process says at once, and
// not after two minutes, that a producer vanished.
func (k *killer) snapshot() *snapshot.Meta {
	k.t.Helper()
	s, err := server.Open(k.t.Context(), server.Options{
		DataDir: filepath.Join(k.d.dir, "cloud"), Listen: strings.TrimPrefix(k.d.cloudURL, "http://"),
		VanishAfter: time.Nanosecond, Logger: slog.New(slog.NewTextHandler(k.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		k.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(k.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			k.t.Error(err)
		}
	}()
	k.d.user.must("create", "snapshot", "--name", "faults")
	meta := &snapshot.Meta{}
	if err := json.Unmarshal([]byte(k.d.user.must("get", "snapshot", "faults", "-o", "json")), meta); err != nil {
		k.t.Fatal(err)
	}
	return meta
}

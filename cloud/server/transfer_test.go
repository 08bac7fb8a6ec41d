package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/server"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

type file struct{ name, data string }

func (c *cloud) download(t testing.TB, id string) []file {
	t.Helper()
	stream, err := c.snapshots.Download(t.Context(), &cloudv1.DownloadSnapshotRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var files []file
	for stream.Receive() {
		m := stream.Msg()
		if n := len(files); n == 0 || files[n-1].name != m.GetName() {
			files = append(files, file{name: m.GetName()})
		}
		files[len(files)-1].data += string(m.GetData())
	}
	if stream.Err() != nil {
		t.Fatal(stream.Err())
	}
	return files
}

func (c *cloud) upload(t testing.TB, force bool, files ...file) error {
	t.Helper()
	stream, err := c.snapshots.Upload(t.Context())
	if err != nil {
		return err
	}
	for _, f := range files {
		for data := []byte(f.data); ; {
			n := min(len(data), 1000)
			err := stream.Send(&cloudv1.UploadSnapshotRequest{Force: force, Chunk: &cloudv1.FileChunk{Name: f.name, Data: data[:n]}})
			if err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			if data = data[n:]; len(data) == 0 || err != nil {
				break
			}
		}
	}
	_, err = stream.CloseAndReceive()
	return err
}

// withSnapshot returns a cloud that has a snapshot.
func withSnapshot(t testing.TB, dir string) (*cloud, *snapshot.Meta) {
	t.Helper()
	c := start(t, server.Options{DataDir: dir}, "")
	nc := c.agent(t, c.key)
	waitConnected(t, nc)
	if err := publish(t, nc, newBatch("p", 1, 2000)); err != nil {
		t.Fatal(err)
	}
	meta, err := c.create(t, &cloudv1.CreateSnapshotRequest{Name: "s"})
	if err != nil {
		t.Fatal(err)
	}
	return c, meta
}

func TestDownloadAndUpload(t *testing.T) {
	dir := t.TempDir()
	c, meta := withSnapshot(t, dir)
	files := c.download(t, meta.ID)
	if len(files) != 4 || files[0].name != snapshot.MetaFile || len(files[1].data) < 100_000 {
		t.Fatalf("%d files", len(files))
	}
	if err := c.upload(t, false, files...); code(err) != connect.CodeAlreadyExists {
		t.Errorf("an upload of what is there: %v", err)
	}
	if err := c.upload(t, true, files...); err != nil {
		t.Errorf("a forced upload: %v", err)
	}
	if _, err := c.snapshots.Delete(t.Context(), &cloudv1.DeleteSnapshotRequest{Id: "s"}); err != nil {
		t.Fatal(err)
	}
	if err := c.upload(t, false, files...); err != nil {
		t.Fatal(err)
	}
	if again := c.download(t, "latest"); !cmp.Equal(files, again, cmp.AllowUnexported(file{})) {
		t.Error("files changed on their way")
	}
	if left := entries(t, dir); !cmp.Equal(left, []string{meta.ID}) {
		t.Errorf("the snapshots' folder has %q", left)
	}
}

func entries(t testing.TB, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(dir, "snapshots"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestBadUploadsAreRefusedAndLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	c := start(t, server.Options{DataDir: dir}, "")
	meta := func(id, name string) file {
		b, err := json.Marshal(snapshot.Meta{Version: 1, ID: id, Status: snapshot.StatusComplete, Info: snapshot.Info{Name: name}})
		if err != nil {
			t.Fatal(err)
		}
		return file{snapshot.MetaFile, string(b)}
	}
	raw := file{snapshot.RawFile, ""}
	for name, files := range map[string][]file{
		"nothing":          nil,
		"no snapshot.json": {raw},
		"no raw.jsonl":     {meta("a", "n")},
		"not JSON":         {{snapshot.MetaFile, "{"}, raw},
		"path in id":       {meta("../../a", "n"), raw},
		"dot id":           {meta("..", "n"), raw},
		"id latest":        {meta("latest", "n"), raw},
		"name latest":      {meta("a", "latest"), raw},
		"unknown file":     {meta("a", "n"), raw, {"x.sh", "rm"}},
		"path in file":     {meta("a", "n"), raw, {"../x", "rm"}},
		"absolute file":    {{"/tmp/x", "rm"}},
		"empty file name":  {{"", "rm"}},
		"file twice":       {meta("a", "n"), raw, meta("a", "n")},
		"unfinished":       {{snapshot.MetaFile, `{"version":1,"id":"a","status":"Processing"}`}, raw},
	} {
		if err := c.upload(t, true, files...); code(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left := entries(t, dir); len(left) != 0 {
		t.Errorf("the snapshots' folder has %q", left)
	}
}

func TestCancelledSnapshotLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	c := start(t, server.Options{DataDir: dir}, "")
	nc := c.agent(t, c.key)
	waitConnected(t, nc)
	for seq := range uint64(60) { // enough to be in time on a busy machine
		if err := publish(t, nc, newBatch("p", seq+1, 2000)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.traffic.Ingest(t.Context(), &cloudv1.IngestRequest{Flush: true}); err != nil {
		t.Fatal(err)
	}
	// One that is done before it can be cancelled says nothing.
	for range 20 {
		if cancelled(t, c, dir) {
			return
		}
	}
	t.Error("no snapshot could be cancelled")
}

// cancelled cancels a snapshot once it has begun to write, and says whether that
// was in time.
func cancelled(t *testing.T, c *cloud, dir string) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := c.snapshots.Create(ctx, &cloudv1.CreateSnapshotRequest{Name: "s"})
	if err != nil {
		t.Fatal(err)
	}
	for len(entries(t, dir)) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	stream.Close()
	for end := time.Now().Add(20 * time.Second); len(entries(t, dir)) > 0; time.Sleep(time.Millisecond) {
		_, err := c.snapshots.Delete(t.Context(), &cloudv1.DeleteSnapshotRequest{Id: "s"})
		switch {
		case err == nil:
			return false
		case code(err) != connect.CodeNotFound:
			t.Fatal(err)
		case time.Now().After(end):
			t.Fatalf("the snapshots' folder has %q", entries(t, dir))
		}
	}
	res, err := c.snapshots.List(t.Context(), &cloudv1.ListSnapshotsRequest{})
	if err != nil || len(res.GetSnapshots()) != 0 {
		t.Fatalf("%d snapshots, %v", len(res.GetSnapshots()), err)
	}
	return true
}

// A program that ended at the wrong moment leaves folders and the catalog apart.
func TestSnapshotsAreRecovered(t *testing.T) {
	dir := t.TempDir()
	c, meta := withSnapshot(t, dir)
	key := c.key
	c.stop()
	snapshots := filepath.Join(dir, "snapshots")
	for _, name := range []string{"x.tmp", "upload-1.tmp"} {
		if err := os.MkdirAll(filepath.Join(snapshots, name, "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// In place, but not recorded: a copy under another id.
	const other = "other-id"
	if err := os.CopyFS(filepath.Join(snapshots, other), os.DirFS(filepath.Join(snapshots, meta.ID))); err != nil {
		t.Fatal(err)
	}
	doc := filepath.Join(snapshots, other, snapshot.MetaFile)
	b, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(doc, bytes.ReplaceAll(b, []byte(meta.ID), []byte(other)), 0o600); err != nil {
		t.Fatal(err)
	}
	c = start(t, server.Options{DataDir: dir}, key)
	res, err := c.snapshots.List(t.Context(), &cloudv1.ListSnapshotsRequest{})
	if err != nil || len(res.GetSnapshots()) != 2 {
		t.Errorf("%d snapshots, %v", len(res.GetSnapshots()), err)
	}
	if left := entries(t, dir); len(left) != 2 {
		t.Errorf("the snapshots' folder has %q", left)
	}
	if err := os.RemoveAll(filepath.Join(snapshots, other)); err != nil {
		t.Fatal(err)
	}
	stream, err := c.snapshots.Download(t.Context(), &cloudv1.DownloadSnapshotRequest{Id: other})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for stream.Receive() {
	}
	if code(stream.Err()) != connect.CodeDataLoss {
		t.Errorf("a download of files that are gone: %v", stream.Err())
	}
}

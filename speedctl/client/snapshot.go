package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// chunkSize is how much of a file goes into one message of an upload, in bytes.
const chunkSize = 256 << 10

// CreateSnapshot makes a snapshot from the archive, and returns its id.
func (c *Client) CreateSnapshot(ctx context.Context, name string, sel *cloudv1.Selection, progress func(pairs uint64)) (id string, err error) {
	stream, err := c.Snapshots.Create(ctx, &cloudv1.CreateSnapshotRequest{Name: name, Selection: sel})
	if err != nil {
		return "", Explain(err)
	}
	defer stream.Close()
	var meta snapshot.Meta
	for stream.Receive() {
		progress(stream.Msg().GetPairs())
		if b := stream.Msg().GetSnapshot(); len(b) > 0 {
			if err := json.Unmarshal(b, &meta); err != nil {
				return "", fmt.Errorf("the cloud's answer: %w", err)
			}
		}
	}
	return meta.ID, Explain(stream.Err())
}

// OpenSnapshot opens a snapshot by the path of its folder, or by id, name or
// "latest": then it is pulled from the cloud unless it was pulled before.
func OpenSnapshot(ctx context.Context, h home.Dir, ref string, connect func(context.Context) (*Client, error)) (*snapshot.Snapshot, error) {
	if strings.ContainsRune(ref, filepath.Separator) {
		return snapshot.Open(ref)
	}
	if s, err := snapshot.Open(h.Snapshot(ref)); err == nil {
		return s, nil
	}
	c, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := c.PullSnapshot(ctx, h, ref)
	if err := errors.Join(err, c.Close()); err != nil {
		return nil, err
	}
	return snapshot.Open(dir)
}

// PullSnapshot downloads a snapshot into the home folder, all or nothing, and
// returns its folder. One that is there already is left as it is.
func (c *Client) PullSnapshot(ctx context.Context, h home.Dir, ref string) (dir string, err error) {
	dir, err = c.Client.PullSnapshot(ctx, ref, h.Snapshot)
	return dir, Explain(err)
}

// ImportSnapshot makes a snapshot of a documented raw.jsonl, and returns its id and
// the lines that are no pairs, of which there are at most 100.
func (c *Client) ImportSnapshot(ctx context.Context, raw io.Reader, name string) (id string, bad []*snapshot.LineError, err error) {
	tmp, err := os.MkdirTemp("", "speedctl-import-")
	if err != nil {
		return "", nil, err
	}
	defer os.RemoveAll(tmp)
	dir := filepath.Join(tmp, "snapshot")
	if _, bad, err = snapshot.Import(dir, name, raw); err != nil {
		return "", bad, err
	}
	id, err = c.PushSnapshot(ctx, dir, false)
	return id, bad, err
}

// PushSnapshot uploads the snapshot in dir, and returns its id.
func (c *Client) PushSnapshot(ctx context.Context, dir string, force bool) (id string, err error) {
	s, err := snapshot.Open(dir)
	if err != nil {
		return "", err
	}
	stream, err := c.Snapshots.Upload(ctx)
	if err != nil {
		return "", Explain(err)
	}
	for _, name := range s.Files() {
		if err := upload(stream.Send, dir, name, force); errors.Is(err, io.EOF) {
			break // The cloud has ended the call; CloseAndReceive says why.
		} else if err != nil {
			return "", err
		}
	}
	res, err := stream.CloseAndReceive()
	return res.GetId(), Explain(err)
}

func upload(send func(*cloudv1.UploadSnapshotRequest) error, dir, name string, force bool) error {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, chunkSize)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			if err := send(&cloudv1.UploadSnapshotRequest{Force: force, Chunk: &cloudv1.FileChunk{Name: name, Data: buf[:n]}}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// DeleteSnapshot deletes a snapshot from the cloud, and its pulled copy, and
// returns its id.
func (c *Client) DeleteSnapshot(ctx context.Context, h home.Dir, ref string) (id string, err error) {
	res, err := c.Snapshots.Get(ctx, &cloudv1.GetSnapshotRequest{Id: ref})
	if err != nil {
		return "", Explain(err)
	}
	var meta snapshot.Meta
	if err := json.Unmarshal(res.GetSnapshot(), &meta); err != nil {
		return "", fmt.Errorf("the cloud's answer: %w", err)
	}
	if _, err := c.Snapshots.Delete(ctx, &cloudv1.DeleteSnapshotRequest{Id: meta.ID}); err != nil {
		return "", Explain(err)
	}
	return meta.ID, os.RemoveAll(h.Snapshot(meta.ID))
}

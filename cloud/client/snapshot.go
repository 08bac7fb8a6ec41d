package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"connectrpc.com/connect"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// stallLimit is how long a download may go on without a byte.
const stallLimit = time.Minute

// PullSnapshot downloads the snapshot of an id or name, all or nothing, and returns
// its folder, which is folder of its id. One that is there already is left as it is.
func (c *Client) PullSnapshot(ctx context.Context, ref string, folder func(id string) string) (dir string, err error) {
	res, err := c.Snapshots.Get(ctx, &cloudv1.GetSnapshotRequest{Id: ref})
	if err != nil {
		return "", err
	}
	var meta snapshot.Meta
	if err := json.Unmarshal(res.GetSnapshot(), &meta); err != nil {
		return "", fmt.Errorf("the cloud's answer: %w", err)
	}
	if meta.ID != filepath.Base(meta.ID) || !filepath.IsLocal(meta.ID) {
		return "", fmt.Errorf("the cloud's answer: the snapshot's id %q is no name of a folder", meta.ID)
	}
	dir = folder(meta.ID)
	if _, err := snapshot.Open(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".pull-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp) // is gone already when all went well
	if err := c.download(ctx, meta.ID, tmp); err != nil {
		return "", err
	}
	if _, err := snapshot.Open(tmp); err != nil {
		return "", fmt.Errorf("the cloud's answer: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.Rename(tmp, dir)
}

func (c *Client) download(ctx context.Context, id, dir string) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stalled := time.AfterFunc(stallLimit, cancel)
	defer func() {
		if !stalled.Stop() && err != nil {
			err = connect.NewError(connect.CodeUnavailable, fmt.Errorf("nothing came for %v: %w", stallLimit, err))
		}
	}()
	stream, err := c.Snapshots.Download(ctx, &cloudv1.DownloadSnapshotRequest{Id: id})
	if err != nil {
		return err
	}
	defer stream.Close()
	// The cloud chooses the names, so a root keeps them inside the folder.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var file *os.File
	defer func() {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	for stream.Receive() {
		stalled.Reset(stallLimit)
		chunk := stream.Msg()
		if file == nil || filepath.Base(file.Name()) != chunk.GetName() {
			if file != nil {
				if err := file.Close(); err != nil {
					return err
				}
			}
			if file, err = root.Create(chunk.GetName()); err != nil {
				return err
			}
		}
		if _, err := file.Write(chunk.GetData()); err != nil {
			return err
		}
	}
	return stream.Err()
}

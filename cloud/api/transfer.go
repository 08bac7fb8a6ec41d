package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"connectrpc.com/connect"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/catalog"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// chunkBytes is the size of a FileChunk.
const chunkBytes = 256 << 10

// tmpSuffix marks folders that are not snapshots yet, or no more.
const tmpSuffix = ".tmp"

// files are the names that a snapshot's files have.
func files() []string {
	return []string{snapshot.MetaFile, snapshot.RawFile, snapshot.ActionsFile, snapshot.ReactionsFile}
}

// recoverSnapshots removes what interrupted calls left, and takes snapshots into
// the catalog that are in place but were not recorded any more.
func (a *API) recoverSnapshots(ctx context.Context) error {
	if err := os.MkdirAll(a.o.Snapshots, 0o700); err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	entries, err := os.ReadDir(a.o.Snapshots)
	if err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	for _, e := range entries {
		dir := filepath.Join(a.o.Snapshots, e.Name())
		if strings.HasSuffix(e.Name(), tmpSuffix) {
			if err := os.RemoveAll(dir); err != nil {
				return fmt.Errorf("snapshots: %w", err)
			}
			continue
		}
		if s, err := a.o.Catalog.Snapshot(ctx, e.Name()); err == nil && s.ID == e.Name() {
			continue
		}
		s, err := snapshot.Open(dir)
		if err != nil || s.Meta().ID != e.Name() {
			a.o.Logger.Warn("a folder among the snapshots is none", "folder", dir, "error", err)
			continue
		}
		if _, err := a.record(ctx, s.Meta(), true); err != nil {
			return fmt.Errorf("snapshots: record %q: %w", e.Name(), err)
		}
	}
	return nil
}

// Download implements cloudv1connect.SnapshotServiceHandler.
func (s snapshotService) Download(ctx context.Context, r *cloudv1.DownloadSnapshotRequest, out *connect.ServerStream[cloudv1.FileChunk]) error {
	found, err := s.find(ctx, r.GetId())
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(filepath.Join(s.o.Snapshots, found.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return connect.NewError(connect.CodeDataLoss, fmt.Errorf("the files of snapshot %q are gone from the cloud's folder; delete it, and make it again", found.ID))
	}
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range files() {
		if err := sendFile(ctx, root, name, out); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// sendFile sends a file in chunks; an empty file is one empty chunk.
func sendFile(ctx context.Context, root *os.Root, name string, out *connect.ServerStream[cloudv1.FileChunk]) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, chunkBytes)
	for first := true; ; first = false {
		n, err := io.ReadFull(f, buf)
		if n > 0 || first {
			if err := out.Send(&cloudv1.FileChunk{Name: name, Data: buf[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// Upload implements cloudv1connect.SnapshotServiceHandler.
func (s snapshotService) Upload(ctx context.Context, in *connect.ClientStream[cloudv1.UploadSnapshotRequest]) (*cloudv1.UploadSnapshotResponse, error) {
	end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	tmp, err := os.MkdirTemp(s.o.Snapshots, "upload-*"+tmpSuffix)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	force, err := receive(in, tmp, s.o.MaxUpload)
	if err != nil {
		return nil, err
	}
	up, err := snapshot.Open(tmp)
	if err != nil {
		return nil, invalid("%s", strings.ReplaceAll(err.Error(), tmp, "upload"))
	}
	meta := up.Meta()
	if !validID(meta.ID) {
		return nil, invalid("snapshot id %q is not 1 to 64 letters, digits, - and _, or it is %q", meta.ID, catalog.Latest)
	}
	if err := validName(meta.Info.Name); err != nil {
		return nil, err
	}
	if err := s.place(ctx, tmp, meta, force); err != nil {
		return nil, err
	}
	return &cloudv1.UploadSnapshotResponse{Id: meta.ID}, nil
}

// receive writes the chunks into a folder.
func receive(in *connect.ClientStream[cloudv1.UploadSnapshotRequest], dir string, limit int64) (force bool, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false, err
	}
	defer root.Close()
	var file *os.File
	finish := func() error {
		if file == nil {
			return nil
		}
		return errors.Join(file.Sync(), file.Close())
	}
	var name string
	var size int64
	for first := true; in.Receive(); first = false {
		m := in.Msg()
		if first {
			force = m.GetForce()
		}
		c := m.GetChunk()
		if size += int64(len(c.GetData())); size > limit {
			finish()
			return false, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("the snapshot is larger than %d bytes", limit))
		}
		if c.GetName() != name || file == nil {
			if err := finish(); err != nil {
				return false, err
			}
			file = nil
			if name = c.GetName(); !slices.Contains(files(), name) {
				return false, invalid("file %q is not one of %s", name, strings.Join(files(), ", "))
			}
			// A file that comes in two parts would replace itself.
			if file, err = root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
				return false, invalid("file %q comes twice, or cannot be written: %w", name, err)
			}
		}
		if _, err := file.Write(c.GetData()); err != nil {
			file.Close()
			return false, err
		}
	}
	return force, errors.Join(finish(), in.Err())
}

// place puts an uploaded folder where its snapshot belongs.
func (s snapshotService) place(ctx context.Context, tmp string, meta *snapshot.Meta, force bool) error {
	dir := filepath.Join(s.o.Snapshots, meta.ID)
	old := tmp + ".old" + tmpSuffix
	restore := func() {}
	if _, err := os.Lstat(dir); err == nil {
		if !force {
			return connect.NewError(connect.CodeAlreadyExists, fmt.Errorf("snapshot %q is there already; force replaces it", meta.ID))
		}
		if err := os.Rename(dir, old); err != nil {
			return err
		}
		restore = func() { os.Rename(old, dir) }
	}
	if err := os.Rename(tmp, dir); err != nil {
		restore()
		return err
	}
	if _, err := s.record(ctx, meta, true); err != nil {
		os.RemoveAll(dir)
		restore()
		return err
	}
	return os.RemoveAll(old)
}

// Package archive keeps pairs in segments: Parquet objects of a bucket, each
// sorted by time, listed in the catalog. Objects lie in folders by the day they
// were ingested (date=2026-11-22/…), so that DuckDB, Spark or Athena read them
// as they are.
package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob" // file:///folder
	_ "gocloud.dev/blob/memblob"  // mem://, for tests
	// The drivers of S3, GCS and Azure belong here; each adds a cloud's client
	// library to every binary that holds the archive.

	"github.com/speedscale/speedscale/cloud/catalog"
)

// Options are what an archive is opened with.
type Options struct {
	// URL is the bucket, as gocloud.dev/blob has it.
	URL     string
	Catalog *catalog.Catalog
	Logger  *slog.Logger
	// MergeBelow is the size in bytes under which segments are merged; merged
	// ones reach at most four times that. 0 means 16 MiB: what ingest writes under
	// load is large enough, and merging it would double the work.
	MergeBelow int64
}

// Archive is an open archive. It is safe for concurrent use.
type Archive struct {
	bucket *blob.Bucket
	cat    *catalog.Catalog
	log    *slog.Logger
	dir    string // of a bucket that is a folder
	opts   Options

	// mu has a scan begin, or segments be replaced, but not both at a time: a
	// scan that saw a segment began before the segment's tombstone was made.
	mu    sync.Mutex
	scans map[*scan]time.Time // running scans, and when they began
}

// Open opens the bucket and checks that it can be read.
func Open(ctx context.Context, o Options) (*Archive, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MergeBelow == 0 {
		o.MergeBelow = 16 << 20
	}
	a := &Archive{cat: o.Catalog, log: o.Logger, opts: o, scans: make(map[*scan]time.Time)}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("archive: bucket URL: %w", err)
	}
	if u.Scheme == "file" {
		a.dir = filepath.FromSlash(u.Path)
		if err := os.MkdirAll(a.dir, 0o700); err != nil {
			return nil, fmt.Errorf("archive: %w", err)
		}
		// Objects are renamed into place within their file system, and no
		// attribute files stand beside them where a reader lists *.parquet.
		q := u.Query()
		q.Set("no_tmp_dir", "true")
		q.Set("metadata", "skip")
		q.Set("dir_file_mode", "448") // 0700
		u.RawQuery = q.Encode()
	}
	a.bucket, err = blob.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, fmt.Errorf("archive: open bucket %q: %w", u.Redacted(), err)
	}
	ok, err := a.bucket.IsAccessible(ctx)
	if err == nil && !ok {
		err = errors.New("it does not exist")
	}
	if err != nil {
		a.bucket.Close()
		return nil, fmt.Errorf("archive: bucket %q cannot be read: %w", u.Redacted(), err)
	}
	return a, nil
}

// Close closes the bucket.
func (a *Archive) Close() error { return a.bucket.Close() }

// Dir returns the folder of a bucket that is one, else "".
func (a *Archive) Dir() string { return a.dir }

// objectName names the object of batches first to last. The batches of one
// commit are named by the first alone: where the commit fails, the next attempt
// may hold more or fewer of them, and overwrites the object.
func objectName(day time.Time, first, last uint64) string {
	name := fmt.Sprintf("date=%s/%020d", day.UTC().Format(time.DateOnly), first)
	if last != 0 {
		name += fmt.Sprintf("-%020d", last)
	}
	return name + ".parquet"
}

// name is what an object's name says.
type name struct {
	first, last uint64
	merged      bool // made of other segments
}

func parseName(object string) (n name, ok bool) {
	base, ok := strings.CutSuffix(path.Base(object), ".parquet")
	if !ok || !strings.HasPrefix(object, "date=") {
		return n, false
	}
	first, last, merged := strings.Cut(base, "-")
	n.merged = merged
	var err error
	if n.first, err = strconv.ParseUint(first, 10, 64); err != nil {
		return n, false
	}
	if merged {
		if n.last, err = strconv.ParseUint(last, 10, 64); err != nil {
			return n, false
		}
	}
	return n, true
}

// sync has an object of a folder on the disk, with its name.
func (a *Archive) sync(object string) error {
	if a.dir == "" {
		return nil
	}
	file := filepath.Join(a.dir, filepath.FromSlash(object))
	for _, p := range []string{file, filepath.Dir(file), a.dir} {
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		err = f.Sync()
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

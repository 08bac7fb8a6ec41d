package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/parquet-go/parquet-go"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/speedscale/speedscale/cloud/catalog"
)

// object is a segment's object, opened for reading.
type object struct {
	*parquet.File
	close func() error
}

// openSegment opens a segment's object, to be read with a buffer of some bytes for
// each column. The caller closes it.
func (a *Archive) openSegment(ctx context.Context, seg catalog.Segment, buffer int) (o object, err error) {
	defer guard(&err)
	in, size, err := a.openObject(ctx, seg.Object, &o)
	if err != nil {
		return object{}, err
	}
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	if size != seg.Bytes {
		return o, fmt.Errorf("object has %d bytes, the catalog says %d: it was changed or cut short", size, seg.Bytes)
	}
	if o.File, err = parquet.OpenFile(in, size, parquet.SkipBloomFilters(true), parquet.ReadBufferSize(buffer)); err != nil {
		return o, err
	}
	if o.NumRows() != seg.Rows {
		return o, fmt.Errorf("object has %d rows, the catalog says %d", o.NumRows(), seg.Rows)
	}
	return o, nil
}

// openObject opens the file of a bucket that is a folder, since a range of it is
// read for each page of each column, or asks the bucket for each range.
func (a *Archive) openObject(ctx context.Context, name string, o *object) (io.ReaderAt, int64, error) {
	if a.dir == "" {
		o.close = func() error { return nil }
		attrs, err := a.bucket.Attributes(ctx, name)
		if err != nil {
			return nil, 0, gone(err)
		}
		return &objectReader{ctx: ctx, bucket: a.bucket, object: name}, attrs.Size, nil
	}
	f, err := os.Open(filepath.Join(a.dir, filepath.FromSlash(name)))
	if err != nil {
		return nil, 0, gone(err)
	}
	o.close = f.Close
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func gone(err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound || errors.Is(err, os.ErrNotExist) {
		return errors.New("object is not in the bucket any more: it was deleted by something other than this cloud; restore it, or narrow the time range")
	}
	return err
}

// objectReader reads parts of an object.
type objectReader struct {
	ctx    context.Context
	bucket *blob.Bucket
	object string
}

func (r *objectReader) ReadAt(p []byte, off int64) (int, error) {
	in, err := r.bucket.NewRangeReader(r.ctx, r.object, off, int64(len(p)), nil)
	if err != nil {
		return 0, gone(err)
	}
	defer in.Close()
	n, err := io.ReadFull(in, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// guard turns a panic of the Parquet reader, which malformed bytes can cause, into
// an error.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("object is corrupt: %v", r)
	}
}

package snapshot

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/speedscale/speedscale/traffic"
)

// tmpSuffix names the folder that a snapshot is written into until Commit.
const tmpSuffix = ".tmp"

// Writer writes a snapshot. The first error ends it: every later call returns
// the same. It is not safe for concurrent use.
type Writer struct {
	dir, tmp string
	meta     Meta
	raw      *os.File
	out      *bufio.Writer
	at       int64
	line     []byte
	index    index
	sums     sums
	losses   losses
	err      error
	done     bool
}

// Create begins a snapshot that Commit puts in place as dir, which must not be
// there yet. Until then it is written into dir.tmp; what an interrupted writer
// left there is removed. Of meta, the caller gives what it knows; the rest is
// found from the pairs.
func Create(dir string, meta Meta) (*Writer, error) {
	dir = filepath.Clean(dir)
	if _, err := os.Lstat(dir); err == nil {
		return nil, fmt.Errorf("snapshot %q: %w", dir, os.ErrExist)
	}
	tmp := dir + tmpSuffix
	if err := os.RemoveAll(tmp); err != nil {
		return nil, fmt.Errorf("snapshot %q: remove what an interrupted writer left: %w", dir, err)
	}
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return nil, fmt.Errorf("snapshot %q: %w", dir, err)
	}
	raw, err := os.Create(filepath.Join(tmp, RawFile))
	if err != nil {
		os.RemoveAll(tmp)
		return nil, fmt.Errorf("snapshot %q: %w", dir, err)
	}
	meta.Version, meta.Status = Version, StatusProcessing
	if meta.ID == "" {
		meta.ID = uuid.NewString()
	}
	if meta.Info.CreatedAt.IsZero() {
		meta.Info.CreatedAt = time.Now().UTC()
	}
	return &Writer{
		dir: dir, tmp: tmp, meta: meta, raw: raw, out: bufio.NewWriterSize(raw, 256<<10),
		sums: newSums(), losses: newLosses(meta.Losses),
	}, nil
}

// ID is the snapshot's id.
func (w *Writer) ID() string { return w.meta.ID }

// Add appends a pair, which it does not keep.
func (w *Writer) Add(p *traffic.RRPair) error {
	if w.err != nil {
		return w.err
	}
	w.line = traffic.AppendJSON(w.line[:0], p)
	if len(w.line) > MaxLine {
		return w.fail(fmt.Errorf("pair %x takes %d bytes as a line, more than %d MiB", p.GetUuid(), len(w.line), MaxLine>>20))
	}
	return w.add(p, w.line)
}

// add appends a pair whose line, without its end, is given.
func (w *Writer) add(p *traffic.RRPair, line []byte) error {
	if _, err := w.out.Write(line); err != nil {
		return w.fail(err)
	}
	if err := w.out.WriteByte('\n'); err != nil {
		return w.fail(err)
	}
	w.index.add(p, w.at, len(line))
	w.at += int64(len(line)) + 1
	w.sums.add(p)
	w.meta.RecordsProcessed++
	return nil
}

func (w *Writer) fail(err error) error {
	w.err = fmt.Errorf("write snapshot %q: %w", w.dir, err)
	return w.err
}

// Lose adds to the losses that the snapshot states. Losses of the same reason,
// namespace, service and direction are summed up.
func (w *Writer) Lose(l *traffic.Loss) { w.losses.add(lossOf(l)) }

// Gap adds a gap to those that the snapshot states.
func (w *Writer) Gap(g Gap) { w.meta.Gaps = append(w.meta.Gaps, g) }

// Vanished states that a producer ended without a goodbye.
func (w *Writer) Vanished(producer string) {
	if !slices.Contains(w.meta.Vanished, producer) {
		w.meta.Vanished = append(w.meta.Vanished, producer)
	}
}

// SetMasking states the rules that the pairs were masked by, and the id of the
// key. The rules must not hold the key.
func (w *Writer) SetMasking(config json.RawMessage, keyID string) {
	w.meta.Masking = &Masking{Config: config, KeyID: keyID}
}

// Commit completes the snapshot, brings it to the disk and puts it in place. If
// that fails, or the program ends meanwhile, there is no snapshot and what was
// written is removed, by Commit itself or the next Create of the same folder.
func (w *Writer) Commit() (*Meta, error) {
	if w.done {
		return nil, fmt.Errorf("snapshot %q: committed or aborted already", w.dir)
	}
	defer w.Abort()
	if w.err == nil {
		if err := w.finish(); err != nil {
			w.fail(err)
		}
	}
	if w.err != nil {
		return nil, w.err
	}
	w.done = true
	return &w.meta, nil
}

func (w *Writer) finish() error {
	if err := flush(w.out, w.raw); err != nil {
		return err
	}
	w.index.byTime()
	if err := w.writeFile(ActionsFile, func(out *bufio.Writer) error { return w.index.copyTo(out, w.raw, true) }); err != nil {
		return err
	}
	if err := w.writeFile(ReactionsFile, func(out *bufio.Writer) error { return w.index.copyTo(out, w.raw, false) }); err != nil {
		return err
	}
	if err := w.raw.Close(); err != nil {
		return err
	}
	w.complete()
	err := w.writeFile(MetaFile, func(out *bufio.Writer) error {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(&w.meta)
	})
	if err != nil {
		return err
	}
	if err := syncDir(w.tmp); err != nil {
		return err
	}
	// Rename would replace an empty folder that came in the way meanwhile.
	if _, err := os.Lstat(w.dir); err == nil {
		return os.ErrExist
	}
	if err := os.Rename(w.tmp, w.dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(w.dir))
}

// complete fills in what is known only when all pairs are.
func (w *Writer) complete() {
	m := &w.meta
	m.Status = StatusComplete
	m.InTraffic, m.OutTraffic = w.sums.slices()
	m.Losses = w.losses.list
	if m.Info.StartTime.IsZero() {
		m.Info.StartTime = w.sums.first
	}
	if m.Info.EndTime.IsZero() {
		m.Info.EndTime = w.sums.last
	}
	if len(m.Info.Services) == 0 {
		m.Info.Services = slices.Sorted(maps.Keys(w.sums.services))
	}
	if len(m.Info.Namespaces) == 0 {
		for _, name := range slices.Sorted(maps.Keys(w.sums.namespaces)) {
			m.Info.Namespaces = append(m.Info.Namespaces, Namespace{Name: name})
		}
	}
	if w.sums.undirected > 0 && m.ProcessingDetails == "" {
		m.ProcessingDetails = fmt.Sprintf("%d pairs have no direction and are not replayed", w.sums.undirected)
	}
}

func (w *Writer) writeFile(name string, write func(*bufio.Writer) error) error {
	f, err := os.Create(filepath.Join(w.tmp, name))
	if err != nil {
		return err
	}
	defer f.Close()
	out := bufio.NewWriterSize(f, 256<<10)
	if err := write(out); err != nil {
		return err
	}
	if err := flush(out, f); err != nil {
		return err
	}
	return f.Close()
}

func flush(out *bufio.Writer, f *os.File) error {
	if err := out.Flush(); err != nil {
		return err
	}
	return f.Sync()
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Abort gives the snapshot up and removes what was written. After Commit it
// does nothing.
func (w *Writer) Abort() {
	if w.done {
		return
	}
	w.done = true
	if w.err == nil {
		w.err = fmt.Errorf("snapshot %q: aborted", w.dir)
	}
	w.raw.Close()
	os.RemoveAll(w.tmp)
}

// Import makes a snapshot of a documented raw.jsonl. Lines are kept as they
// are, with the parts that this program does not know. Lines that are no pairs
// are left out, stated in the snapshot as losses, and the first 100 of them are
// returned.
func Import(dir, name string, raw io.Reader) (*Meta, []*LineError, error) {
	w, err := Create(dir, Meta{Info: Info{Name: name}})
	if err != nil {
		return nil, nil, err
	}
	defer w.Abort()
	var bad []*LineError
	for l := range lines(raw) {
		p, err := l.pair(RawFile)
		lineErr, isLine := errors.AsType[*LineError](err)
		switch {
		case err == nil:
			err = w.add(p, l.text)
		case isLine:
			if len(bad) < 100 {
				bad = append(bad, lineErr)
			}
			w.Lose(&traffic.Loss{Reason: traffic.ReasonMalformed, Pairs: 1})
			err = nil
		}
		if err != nil {
			return nil, bad, err
		}
	}
	if w.meta.RecordsProcessed == 0 {
		return nil, bad, fmt.Errorf("import %q: no line is a pair: %w", name, ErrNotSnapshot)
	}
	meta, err := w.Commit()
	return meta, bad, err
}

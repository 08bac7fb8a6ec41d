package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/speedscale/speedscale/traffic"
)

// Names of a snapshot's files.
const (
	MetaFile      = "snapshot.json"
	RawFile       = "raw.jsonl"
	ActionsFile   = "action.jsonl"
	ReactionsFile = "reaction.jsonl"
)

// maxMeta bounds snapshot.json, which has an entry for each slice and loss.
const maxMeta = 64 << 20

// Errors that Open's errors wrap.
var (
	ErrNotSnapshot = errors.New("not a snapshot")
	ErrUnfinished  = errors.New("snapshot is not finished")
	ErrVersion     = errors.New("unknown snapshot version")
)

// Snapshot is a snapshot on disk. Its methods are safe for concurrent use.
type Snapshot struct {
	dir  string
	meta *Meta
}

// Open opens the snapshot in dir. It reads snapshot.json only.
func Open(dir string) (*Snapshot, error) {
	meta, err := readMeta(filepath.Join(dir, MetaFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, explainMissing(dir)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case meta.Version < 0 || meta.Version > Version:
		return nil, fmt.Errorf("%s: %w %d, this program knows up to %d", dir, ErrVersion, meta.Version, Version)
	case meta.ID == "":
		return nil, fmt.Errorf("%s: %w: %s has no id", dir, ErrNotSnapshot, MetaFile)
	case meta.Status == StatusProcessing:
		return nil, fmt.Errorf("%s: %w: its status is %q", dir, ErrUnfinished, meta.Status)
	}
	s := &Snapshot{dir: dir, meta: meta}
	if !s.has(RawFile) && !(s.has(ActionsFile) && s.has(ReactionsFile)) {
		return nil, fmt.Errorf("%s: %w: %s is missing", dir, ErrNotSnapshot, RawFile)
	}
	return s, nil
}

func readMeta(path string) (*Meta, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMeta+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxMeta {
		return nil, fmt.Errorf("%s: %w: longer than %d MiB", path, ErrNotSnapshot, maxMeta>>20)
	}
	meta, err := ParseMeta(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrNotSnapshot, err)
	}
	return meta, nil
}

// ParseMeta reads a snapshot.json.
func ParseMeta(data []byte) (*Meta, error) {
	meta := new(Meta)
	if err := json.Unmarshal(data, meta); err != nil {
		return nil, err
	}
	return meta, nil
}

// explainMissing says why dir has no snapshot.json.
func explainMissing(dir string) error {
	exists := func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	}
	switch {
	case exists(dir + tmpSuffix):
		return fmt.Errorf("%s: %w: only %s is there, which was interrupted; create it again", dir, ErrUnfinished, dir+tmpSuffix)
	case !exists(dir):
		return fmt.Errorf("%s: %w: %w", dir, ErrNotSnapshot, fs.ErrNotExist)
	case exists(filepath.Join(dir, RawFile)):
		return fmt.Errorf("%s: %w: it has %s but no %s; import the file", dir, ErrNotSnapshot, RawFile, MetaFile)
	}
	return fmt.Errorf("%s: %w: it has no %s", dir, ErrNotSnapshot, MetaFile)
}

// Meta returns what snapshot.json says. It must not be changed.
func (s *Snapshot) Meta() *Meta { return s.meta }

func (s *Snapshot) path(name string) string { return filepath.Join(s.dir, name) }

func (s *Snapshot) has(name string) bool {
	info, err := os.Stat(s.path(name))
	return err == nil && info.Mode().IsRegular()
}

// Raw yields every pair, in the order of raw.jsonl. A line that is no pair
// yields a *LineError, after which the next line follows; any other error is
// the last. A pair that was yielded belongs to the caller.
func (s *Snapshot) Raw() iter.Seq2[*traffic.RRPair, error] { return s.read(RawFile) }

// Actions yields the pairs that the generator sends, by time, with errors as in
// Raw. They are found in raw.jsonl where there is no action.jsonl, or where
// another program wrote the snapshot, which may not have sorted them.
func (s *Snapshot) Actions() iter.Seq2[*traffic.RRPair, error] {
	return s.direction(ActionsFile, true)
}

// Reactions yields the pairs that the responder answers, by time, as Actions
// does from reaction.jsonl.
func (s *Snapshot) Reactions() iter.Seq2[*traffic.RRPair, error] {
	return s.direction(ReactionsFile, false)
}

func (s *Snapshot) direction(file string, in bool) iter.Seq2[*traffic.RRPair, error] {
	switch {
	case s.has(file) && (s.meta.Version > 0 || !s.has(RawFile)):
		return s.read(file)
	case s.has(file):
		return s.sorted(file, in)
	}
	return s.sorted(RawFile, in)
}

func (s *Snapshot) read(name string) iter.Seq2[*traffic.RRPair, error] {
	return func(yield func(*traffic.RRPair, error) bool) {
		f, err := os.Open(s.path(name))
		if err != nil {
			yield(nil, err)
			return
		}
		defer f.Close()
		readPairs(f.Name(), f)(yield)
	}
}

var errStopped = errors.New("the caller wants no more")

// sorted yields the pairs of one direction by time: it goes through the file
// once for the times and then reads each line where it is.
func (s *Snapshot) sorted(name string, in bool) iter.Seq2[*traffic.RRPair, error] {
	return func(yield func(*traffic.RRPair, error) bool) {
		f, err := os.Open(s.path(name))
		if err != nil {
			yield(nil, err)
			return
		}
		defer f.Close()
		var x index
		for l := range lines(f) {
			p, err := l.pair(f.Name())
			if err == nil {
				x.add(p, l.offset, len(l.text))
			} else if !yield(nil, err) {
				return
			}
		}
		x.byTime()
		err = x.lines(f, in, func(e entry, text []byte) error {
			p := new(traffic.RRPair)
			err := p.UnmarshalJSON(text)
			if err != nil {
				p, err = nil, &LineError{File: f.Name(), Line: lineNumber(f, e.offset), Err: err}
			}
			if !yield(p, err) {
				return errStopped
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStopped) {
			yield(nil, err)
		}
	}
}

package snapshot

import (
	"fmt"
	"iter"

	"github.com/speedscale/speedscale/traffic"
)

// Snapshot is a snapshot on disk. Its methods are safe for concurrent use.
type Snapshot struct{}

// LineError names a line that is not a pair. Reading goes on with the next.
type LineError struct {
	// File is the file's path.
	File string
	// Line counts from 1.
	Line int
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

func (e *LineError) Unwrap() error { return e.Err }

// Open opens the snapshot in dir.
func Open(dir string) (*Snapshot, error) { return nil, errTODO }

// Meta returns what snapshot.json says.
func (s *Snapshot) Meta() *Meta { return nil }

// Dir returns the folder.
func (s *Snapshot) Dir() string { return "" }

// Raw yields every pair.
func (s *Snapshot) Raw() iter.Seq2[*traffic.RRPair, error] { return nil }

// Actions yields the pairs that the generator sends, by time.
func (s *Snapshot) Actions() iter.Seq2[*traffic.RRPair, error] { return nil }

// Reactions yields the pairs that the responder answers, by time.
func (s *Snapshot) Reactions() iter.Seq2[*traffic.RRPair, error] { return nil }

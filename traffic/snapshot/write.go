package snapshot

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/speedscale/speedscale/traffic"
)

var errTODO = errors.New("not written yet")

// Writer writes a snapshot. It is not safe for concurrent use.
type Writer struct{}

// Create begins a snapshot that Commit puts in place as dir.
func Create(dir string, meta Meta) (*Writer, error) { return nil, errTODO }

// Add appends a pair.
func (w *Writer) Add(p *traffic.RRPair) error { return errTODO }

// Lose adds a loss to those that the snapshot states.
func (w *Writer) Lose(l *traffic.Loss) {}

// Gap adds a gap to those that the snapshot states.
func (w *Writer) Gap(g Gap) {}

// Vanished states that a producer ended without a goodbye.
func (w *Writer) Vanished(producer string) {}

// SetMasking states how the pairs were masked.
func (w *Writer) SetMasking(config json.RawMessage, keyID string) {}

// Commit completes the snapshot.
func (w *Writer) Commit() (*Meta, error) { return nil, errTODO }

// Abort gives the snapshot up and removes its files. After Commit it does nothing.
func (w *Writer) Abort() {}

// Import makes a snapshot of a raw.jsonl.
func Import(dir, name string, raw io.Reader) (*Meta, []*LineError, error) { return nil, nil, errTODO }

package responder

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"sync"

	"github.com/speedscale/speedscale/traffic"
)

// pairFile is a Recorder that writes one pair on a line, as in raw.jsonl.
type pairFile struct {
	mu   sync.Mutex
	file *os.File
	buf  *bufio.Writer
	err  error // the first one
}

func newPairFile(name string) (*pairFile, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &pairFile{file: f, buf: bufio.NewWriter(f)}, nil
}

// Pair appends a pair.
func (f *pairFile) Pair(p *traffic.RRPair) {
	line, err := json.Marshal(p)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		_, err = f.buf.Write(append(line, '\n'))
	}
	if f.err == nil {
		f.err = err
	}
}

func (f *pairFile) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.err, f.buf.Flush(), f.file.Close())
}

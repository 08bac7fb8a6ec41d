package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/speedscale/speedscale/agents/disk"
)

// ErrLocked says that another server has the data folder open; Find tells where
// it listens.
var ErrLocked = errors.New("in use by another cloud")

// lockFile is locked while a server has its folder open, and says where the
// server listens.
const lockFile = "cloud.lock"

// Running is what the lock file says, in JSON.
type Running struct {
	URL    string `json:"url"`
	BusURL string `json:"busUrl"`
	PID    int    `json:"pid"`
}

type lock struct {
	dir string
	f   *os.File
}

func takeLock(dir string) (*lock, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder %q: %w", dir, err)
	}
	locked, err := disk.TryLock(f, false)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock data folder %q: %w", dir, err)
	}
	if !locked {
		f.Close()
		if r, ok, _ := Find(dir); ok {
			return nil, fmt.Errorf("data folder %q is %w: pid %d at %s", dir, ErrLocked, r.PID, r.URL)
		}
		return nil, fmt.Errorf("data folder %q is %w", dir, ErrLocked)
	}
	// What a killed server left is not true any more.
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, fmt.Errorf("data folder %q: %w", dir, err)
	}
	return &lock{dir: dir, f: f}, nil
}

// write says where the server listens.
func (l *lock) write(r Running) error {
	b, err := json.Marshal(r)
	if err == nil {
		_, err = l.f.WriteAt(append(b, '\n'), 0)
	}
	if err != nil {
		return fmt.Errorf("data folder %q: %w", l.dir, err)
	}
	return nil
}

// release gives the folder free. The file stays: removing it would let two
// servers lock two files of the same name.
func (l *lock) release() error {
	return errors.Join(l.f.Truncate(0), l.f.Close())
}

// Find tells where the server listens that has a data folder open; ok is false
// where there is none.
func Find(dir string) (r Running, ok bool, err error) {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if err != nil {
		return r, false, err
	}
	defer f.Close()
	if free, err := disk.TryLock(f, true); free || err != nil {
		return r, false, err // nobody holds it, or nobody can tell
	}
	// It is empty while its holder starts.
	if err := json.NewDecoder(f).Decode(&r); err != nil {
		return r, false, nil
	}
	return r, true, nil
}

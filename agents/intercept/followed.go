package intercept

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// recheck is how often files are looked at.
const recheck = 10 * time.Second

// followed is what is in files that may come, change and be put right at any time: a
// Secret may be made after the pod, and its certificates are renewed.
type followed[T any] struct {
	files []string
	// read makes the value, given the one before, which is nil at first.
	read func(before *T) (*T, error)
	log  *slog.Logger
	// without and with are what is logged of files that cannot be used, where there is no
	// value before and where there is one.
	without, with string

	// value is nil as long as the files cannot be used; stale says that it is of files
	// that have changed since, and cannot be used as they are.
	value atomic.Pointer[T]
	stale atomic.Bool

	start time.Time
	due   atomic.Int64 // when the files are looked at again, as time since start

	mu      sync.Mutex // of who looks at the files
	version string     // of the files in value
	failure string     // the last one
}

// load reads the files for the first time.
func (f *followed[T]) load() error {
	f.start = time.Now()
	return f.look()
}

// get returns what the files hold, nil while they cannot be used. Of the connections that
// ask, one looks at the files from time to time; the others do not wait for it.
func (f *followed[T]) get() *T {
	if int64(time.Since(f.start)) >= f.due.Load() && f.mu.TryLock() {
		defer f.mu.Unlock()
		f.tell(f.look())
	}
	return f.value.Load()
}

func (f *followed[T]) look() error {
	f.due.Store(int64(time.Since(f.start) + recheck))
	version, err := versionOf(f.files)
	if err == nil && (version != f.version || f.value.Load() == nil) {
		var value *T
		if value, err = f.read(f.value.Load()); err == nil {
			f.value.Store(value)
			f.version = version
		}
	}
	f.stale.Store(err != nil && f.value.Load() != nil)
	return err
}

// tell logs an error unless it is the last one again; nil ends it.
func (f *followed[T]) tell(err error) {
	text, what := "", f.without
	if err != nil {
		text = err.Error()
	}
	if f.value.Load() != nil {
		what = f.with
	}
	if text != "" && text != f.failure {
		f.log.Warn(what, "error", err)
	}
	f.failure = text
}

// versionOf differs once one of the files has changed.
func versionOf(files []string) (string, error) {
	var v strings.Builder
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&v, "%d %d ", info.ModTime().UnixNano(), info.Size())
	}
	return v.String(), nil
}

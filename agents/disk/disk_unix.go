//go:build unix

package disk

import (
	"os"

	"golang.org/x/sys/unix"
)

// SpaceOf returns what the volume of a folder has (statfs(2)).
func SpaceOf(dir string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Space{}, err
	}
	block := int64(st.Bsize) //nolint:unconvert // it is not an int64 on every system
	return Space{Size: int64(st.Blocks) * block, Free: int64(st.Bavail) * block}, nil
}

// TryLock locks an open file until it is closed, shared with other shared locks or
// for itself alone (flock(2)). It does not wait: ok is false where another open file
// has a lock that excludes this one.
func TryLock(f *os.File, shared bool) (ok bool, err error) {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	for {
		// It does not wait, so it can only be interrupted before it has begun.
		switch err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err {
		case nil:
			return true, nil
		case unix.EINTR:
		case unix.EWOULDBLOCK:
			return false, nil
		default:
			return false, err
		}
	}
}

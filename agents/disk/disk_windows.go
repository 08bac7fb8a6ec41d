package disk

import (
	"os"

	"golang.org/x/sys/windows"
)

// SpaceOf returns what the volume of a folder has (GetDiskFreeSpaceEx).
func SpaceOf(dir string) (Space, error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return Space{}, err
	}
	var free, size uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, &size, nil); err != nil {
		return Space{}, err
	}
	return Space{Size: int64(size), Free: int64(free)}, nil
}

// TryLock locks an open file until it is closed, shared with other shared locks or
// for itself alone (LockFileEx). It does not wait: ok is false where another open file
// has a lock that excludes this one. Locks of Windows keep others from reading what is
// locked, so it is a byte far behind what a file holds.
func TryLock(f *os.File, shared bool) (ok bool, err error) {
	flags := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY)
	if !shared {
		flags |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	switch err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{OffsetHigh: 1 << 30}); err {
	case nil:
		return true, nil
	case windows.ERROR_LOCK_VIOLATION:
		return false, nil
	default:
		return false, err
	}
}

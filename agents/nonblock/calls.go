//go:build unix && (!linux || race)

package nonblock

import (
	"errors"
	"syscall"
)

// Read is read(2) of a descriptor that does not block. It returns 0 bytes at the end,
// and EAGAIN or EINTR as they are.
func Read(fd uintptr, b []byte) (n int, errno syscall.Errno) { return result(syscall.Read(int(fd), b)) }

// Write is write(2) to a descriptor that does not block. It may write less than
// all, and returns EAGAIN or EINTR as they are.
func Write(fd uintptr, b []byte) (n int, errno syscall.Errno) {
	return result(syscall.Write(int(fd), b))
}

func result(n int, err error) (int, syscall.Errno) {
	if err == nil {
		return n, 0
	}
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		errno = syscall.EIO // package syscall returns nothing else
	}
	return 0, errno
}

//go:build linux && !race

package nonblock

import (
	"syscall"
	"unsafe"
)

// Read is read(2) of a descriptor that does not block. It returns 0 bytes at the end,
// and EAGAIN or EINTR as they are.
func Read(fd uintptr, b []byte) (n int, errno syscall.Errno) { return call(syscall.SYS_READ, fd, b) }

// Write is write(2) to a descriptor that does not block. It may write less than
// all, and returns EAGAIN or EINTR as they are.
func Write(fd uintptr, b []byte) (n int, errno syscall.Errno) { return call(syscall.SYS_WRITE, fd, b) }

func call(trap, fd uintptr, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

//go:build unix && (!linux || race)

package nonblock

import "syscall"

// Read is read(2) of a descriptor that does not block. It returns 0 bytes at the end,
// and EAGAIN or EINTR as they are.
func Read(fd uintptr, b []byte) (int, error) { return syscall.Read(int(fd), b) }

// Write is write(2) to a descriptor that does not block. It may write less than
// all, and returns EAGAIN or EINTR as they are.
func Write(fd uintptr, b []byte) (int, error) { return syscall.Write(int(fd), b) }

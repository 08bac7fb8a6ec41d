package generator

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// preciseWait returns a function that sleeps until a time, and one that frees
// what it needs. Go's own timers are late by up to a millisecond in a process
// that is otherwise idle, since they wait in epoll_wait, which counts in
// milliseconds; a timerfd is an event of its own and is late by the wake-up only.
func preciseWait() (wait func(context.Context, time.Time) error, free func() error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return timerWait, func() error { return nil }
	}
	file := os.NewFile(uintptr(fd), "timerfd")
	var expirations [8]byte
	return func(ctx context.Context, until time.Time) error {
		d := time.Until(until)
		if d <= 0 {
			return context.Cause(ctx)
		}
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
		if err := unix.TimerfdSettime(fd, 0, &spec, nil); err != nil {
			return timerWait(ctx, until)
		}
		stop := context.AfterFunc(ctx, func() { file.SetReadDeadline(time.Unix(1, 0)) })
		defer stop()
		if _, err := file.Read(expirations[:]); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return timerWait(ctx, until)
		}
		return context.Cause(ctx)
	}, file.Close
}

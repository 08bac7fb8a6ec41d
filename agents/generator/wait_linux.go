package generator

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxEarly bounds how long a wait spins.
	maxEarly = 150 * time.Microsecond
	// spinFrom is the wait from which on there is spinning: a tenth of a CPU at most.
	spinFrom = 10 * maxEarly
)

// preciseWait returns a function that sleeps until a time, and one that frees
// what it needs. Go's own timers are late by up to a millisecond in a process
// that is otherwise idle, since they wait in epoll_wait, which counts in
// milliseconds; a timerfd is an event of its own and is late by the wake-up only.
// A wait ends early by what wake-ups took before, and spins for the rest.
func preciseWait() (wait func(context.Context, time.Time) error, free func() error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return timerWait, func() error { return nil }
	}
	t := &timerFD{fd: fd, file: os.NewFile(uintptr(fd), "timerfd")}
	return t.wait, t.file.Close
}

// timerFD waits by a timerfd_create(2). It is for one goroutine.
type timerFD struct {
	fd   int
	file *os.File
	late time.Duration // how late wake-ups are, on average
}

func (t *timerFD) wait(ctx context.Context, until time.Time) error {
	d := time.Until(until)
	if d <= 0 {
		return context.Cause(ctx)
	}
	if d < spinFrom {
		return t.sleep(ctx, d)
	}
	wake := until.Add(-min(t.late*3/2, maxEarly))
	if err := t.sleep(ctx, time.Until(wake)); err != nil {
		return err
	}
	t.late += (time.Since(wake) - t.late) / 8
	for time.Now().Before(until) {
	}
	return nil
}

// sleep gives the thread to others meanwhile.
func (t *timerFD) sleep(ctx context.Context, d time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(d, 1)))} // 0 would be never
	if err := unix.TimerfdSettime(t.fd, 0, &spec, nil); err != nil {
		return timerWait(ctx, time.Now().Add(d))
	}
	stop := context.AfterFunc(ctx, func() { t.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var expirations [8]byte
	if _, err := t.file.Read(expirations[:]); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return timerWait(ctx, time.Now().Add(d))
	}
	return context.Cause(ctx)
}

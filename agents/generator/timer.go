package generator

import (
	"context"
	"time"
)

// timerWait sleeps until a time with Go's own timers.
func timerWait(ctx context.Context, until time.Time) error {
	d := time.Until(until)
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

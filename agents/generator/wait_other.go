//go:build !linux

package generator

import (
	"context"
	"time"
)

// preciseWait returns a function that sleeps until a time, and one that frees
// what it needs.
func preciseWait() (wait func(context.Context, time.Time) error, free func() error) {
	return timerWait, func() error { return nil }
}

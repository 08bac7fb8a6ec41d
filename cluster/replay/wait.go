package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	v1 "github.com/speedscale/speedscale/cluster/api/v1"
)

// Wait waits until a condition of a replay is True, or cannot become so any more
// since the replay has ended, and returns the replay as it is then. The error of a
// wait that takes longer than the limit says how far the replay is.
func Wait(ctx context.Context, c Client, namespace, name, condition string, limit time.Duration) (r *v1.TrafficReplay, err error) {
	err = poll(ctx, limit, func(ctx context.Context) (bool, error) {
		now, err := c.Get(ctx, namespace, name)
		if transient(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		r = now
		return holds(r, condition) || Ended(r), nil
	}, func() error {
		return fmt.Errorf("trafficreplay %s/%s is not %s after %s: %s", namespace, name, condition, limit, Status(r))
	})
	return r, err
}

// WaitGone waits until a replay that was deleted is gone, and its workloads are as
// they were.
func WaitGone(ctx context.Context, c Client, namespace, name string, limit time.Duration) error {
	return poll(ctx, limit, func(ctx context.Context) (bool, error) {
		_, err := c.Get(ctx, namespace, name)
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		if transient(err) {
			return false, nil
		}
		return false, err
	}, func() error {
		return fmt.Errorf("trafficreplay %s/%s is not gone after %s: its finalizer waits for the operator", namespace, name, limit)
	})
}

// WaitOver waits until a replay that has ended has cleaned up, or is gone.
func WaitOver(ctx context.Context, c Client, namespace, name string, limit time.Duration) error {
	return poll(ctx, limit, func(ctx context.Context) (bool, error) {
		r, err := c.Get(ctx, namespace, name)
		switch {
		case apierrors.IsNotFound(err):
			return true, nil
		case transient(err):
			return false, nil
		}
		return err == nil && Over(r), err
	}, func() error {
		return fmt.Errorf("trafficreplay %s/%s has not cleaned up after %s", namespace, name, limit)
	})
}

// Status is a replay's newest message.
func Status(r *v1.TrafficReplay) string {
	if r == nil || len(r.Status.Conditions) == 0 {
		return "nothing is known of it yet"
	}
	c := r.Status.Conditions[len(r.Status.Conditions)-1]
	if c.Message != "" {
		return c.Message
	}
	return c.Reason
}

// Verdict is Passed or why not, "" while there is none.
func Verdict(r *v1.TrafficReplay) string {
	ready := r.Status.Condition(v1.ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionTrue {
		return ""
	}
	return ready.Reason
}

// poll asks until it is done, for at most the limit, and says then why it is late.
func poll(ctx context.Context, limit time.Duration, done func(context.Context) (bool, error), late func() error) error {
	err := wait.PollUntilContextTimeout(ctx, pollEvery, limit, true, done)
	if errors.Is(err, context.DeadlineExceeded) {
		return late()
	}
	return err
}

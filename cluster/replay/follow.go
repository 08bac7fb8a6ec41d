package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
)

const (
	// pollEvery is how often the API server is asked about a replay.
	pollEvery = time.Second
	// takeUpLimit is how long a replay may be without an operator.
	takeUpLimit = time.Minute
	// mostEvents wait for the one who follows; the stream waits when they are more.
	mostEvents = 64
)

// Sink is told how a replay goes, one call at a time.
type Sink struct {
	// Condition is told the message of the condition Ready whenever it is another one.
	Condition func(reason, message string)
	// Event is told each event of the replay's stream.
	Event func(*cloudv1.ReplayEvent)
	// Lost is told, once, why there will be no events.
	Lost func(error)
}

// ErrNotTakenUp says that no operator looks after a replay.
var ErrNotTakenUp = errors.New("the operator has not taken it up")

// Follow follows a replay until it has ended or, where it only mocks, until the mocks
// are ready, for at most the limit, and returns it as it is then. Events come from
// the cloud; without the cloud the replay is followed by its conditions alone.
func Follow(ctx context.Context, c Client, events Watcher, r *v1.TrafficReplay, limit time.Duration, sink Sink) (*v1.TrafficReplay, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("trafficreplay %s/%s has not ended after %s", r.Namespace, r.Name, limit))
	defer cancel()
	id := string(r.UID) // which is the report's too
	stream := make(chan event, mostEvents)
	done := make(chan struct{})
	go func() {
		defer close(done)
		watch(ctx, events, id, stream)
	}()
	defer func() { cancel(); <-done }()
	started := time.Now()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	told := metav1.Condition{}
	for {
		select {
		case e := <-stream:
			sink.tell(e)
			continue
		case <-ctx.Done():
			return r, context.Cause(ctx)
		case <-tick.C:
		}
		now, err := c.Get(ctx, r.Namespace, r.Name)
		switch {
		case apierrors.IsNotFound(err):
			return r, fmt.Errorf("trafficreplay %s/%s was deleted", r.Namespace, r.Name)
		case err != nil && ctx.Err() != nil:
			return r, context.Cause(ctx)
		case transient(err):
			continue // the limit bounds how often
		case err != nil:
			return r, err
		}
		r = now
		ready := r.Status.Condition(v1.ConditionReady)
		if ready != nil && (ready.Reason != told.Reason || ready.Message != told.Message) {
			told = *ready
			sink.Condition(ready.Reason, ready.Message)
		}
		if Ended(r) || r.Spec.Mode == v1.ModeResponderOnly && holds(r, v1.ConditionMocksReady) {
			sink.rest(stream)
			return r, nil
		}
		if ready == nil && r.Status.StartedTime == nil && time.Since(started) > takeUpLimit {
			return r, fmt.Errorf("trafficreplay %s/%s: %w", r.Namespace, r.Name, ErrNotTakenUp)
		}
	}
}

func (s Sink) tell(e event) {
	if e.lost != nil {
		s.Lost(e.lost)
		return
	}
	s.Event(e.event)
}

// rest tells what has arrived.
func (s Sink) rest(stream <-chan event) {
	for {
		select {
		case e := <-stream:
			s.tell(e)
		default:
			return
		}
	}
}

// transient errors are those of an API server that is away for a moment.
func transient(err error) bool {
	if err == nil {
		return false
	}
	_, answered := errors.AsType[*apierrors.StatusError](err)
	return !answered || apierrors.IsServerTimeout(err) || apierrors.IsTooManyRequests(err) || apierrors.IsTimeout(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err)
}

func holds(r *v1.TrafficReplay, kind string) bool {
	c := r.Status.Condition(kind)
	return c != nil && c.Status == metav1.ConditionTrue
}

// Ended says whether a replay has ended, whatever its verdict.
func Ended(r *v1.TrafficReplay) bool { return holds(r, v1.ConditionReady) }

// Over says whether a replay has ended and has cleaned up, which one of cleanup none does
// only when it is deleted.
func Over(r *v1.TrafficReplay) bool { return Ended(r) && !r.Status.Active }

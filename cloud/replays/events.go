package replays

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/catalog"
)

// The stream. A message has the events of one call, as a PublishRequest, on the
// subject of their replay. No agent may publish there.
const (
	streamName    = "REPLAYS"
	subjectPrefix = "replay."
	streamAge     = 7 * 24 * time.Hour
	streamBytes   = 256 << 20
	// requestTimeout bounds a request to the embedded server.
	requestTimeout = 10 * time.Second
)

// Headers of a message say what its replay has come to with it, which is read back
// after a restart.
const (
	headerBytes   = "Speedscale-Bytes"
	headerDropped = "Speedscale-Dropped"
)

// sourceCloud is the source of the cloud's own events, which others must not use.
const sourceCloud = "cloud"

const (
	// maxPublish bounds the events of one call, in bytes.
	maxPublish = 1 << 20
	maxSource  = 64
)

func (r *Replays) openStream(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err := r.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:        streamName,
		Description: "events of replays",
		Subjects:    []string{subjectPrefix + "*"},
		Storage:     jetstream.FileStorage,
		Retention:   jetstream.LimitsPolicy,
		// The oldest events go first; each replay is bounded too.
		Discard:    jetstream.DiscardOld,
		MaxAge:     streamAge,
		MaxBytes:   streamBytes,
		MaxMsgs:    -1,
		Replicas:   1,
		Duplicates: time.Second, // no message has an id for JetStream to keep
	})
	if err != nil {
		return fmt.Errorf("stream %s: %w", streamName, err)
	}
	return nil
}

// eventLog is what the stream has of one replay that runs. Its mutex is held while
// events are stored, so that their order is that of their sequence.
type eventLog struct {
	mu     sync.Mutex
	loaded bool
	last   uint64 // sequence of the last event, and so their count
	bytes  uint64
	// dropped counts the events that were left out.
	dropped uint64
}

func (r *Replays) logOf(id string) *eventLog {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.logs[id]
	if l == nil {
		l = &eventLog{}
		r.logs[id] = l
	}
	return l
}

func (r *Replays) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.logs, id)
}

// load reads what is in the stream already.
func (l *eventLog) load(ctx context.Context, r *Replays, id string) error {
	if l.loaded {
		return nil
	}
	m, err := r.lastMessage(ctx, id)
	if err != nil {
		return err
	}
	if m != nil {
		events, err := decode(m.Data)
		if err != nil {
			return err
		}
		l.last = events[len(events)-1].GetSequence()
		l.bytes, _ = strconv.ParseUint(m.Header.Get(headerBytes), 10, 64)
		dropped, _ := strconv.ParseUint(m.Header.Get(headerDropped), 10, 64)
		l.dropped = max(l.dropped, dropped)
	}
	l.loaded = true
	return nil
}

// lastMessage returns the last message of a replay, nil where there is none.
func (r *Replays) lastMessage(ctx context.Context, id string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	s, err := r.js.Stream(ctx, streamName)
	if err != nil {
		return nil, fmt.Errorf("%w: stream %s: %w", ErrUnavailable, streamName, err)
	}
	m, err := s.GetLastMsgForSubject(ctx, subjectPrefix+id)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: stream %s: %w", ErrUnavailable, streamName, err)
	}
	return m, nil
}

func decode(data []byte) ([]*cloudv1.ReplayEvent, error) {
	var m cloudv1.PublishRequest
	if err := proto.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("stream %s: %w", streamName, err)
	}
	if len(m.GetEvents()) == 0 {
		return nil, fmt.Errorf("stream %s: a message has no events", streamName)
	}
	return m.GetEvents(), nil
}

// Publish appends events to a replay that runs: all of them or none, but that those
// beyond the bounds are left out and counted. It gives the events their sequence.
func (r *Replays) Publish(ctx context.Context, id string, events []*cloudv1.ReplayEvent) error {
	if err := checkEvents(events); err != nil {
		return err
	}
	if len(events) == 0 {
		return nil
	}
	if err := r.o.Catalog.RunningReplay(ctx, id); err != nil {
		return err // before it has a log
	}
	l := r.logOf(id)
	l.mu.Lock()
	defer l.mu.Unlock()
	// Its end may have been recorded, and its log forgotten, in the meantime.
	if err := r.o.Catalog.RunningReplay(ctx, id); err != nil {
		if errors.Is(err, catalog.ErrEnded) {
			r.forget(id)
		}
		return err
	}
	if err := l.load(ctx, r, id); err != nil {
		return err
	}
	kept, dropped := r.keep(l, events)
	if err := r.store(ctx, id, l, kept, l.dropped+dropped); err != nil {
		return err
	}
	if dropped > 0 {
		l.dropped += dropped
		r.dropped.Add(dropped)
		r.log.Warn("events of a replay are left out", "replay", id, "events", dropped, "kept", l.last)
	}
	return nil
}

func checkEvents(events []*cloudv1.ReplayEvent) error {
	size := 0
	for i, e := range events {
		size += proto.Size(e)
		switch {
		case e.GetSource() == "" || len(e.GetSource()) > maxSource:
			return invalid("event %d: source is empty or longer than %d bytes", i, maxSource)
		case e.GetSource() == sourceCloud || e.GetEnd() != nil:
			return invalid("event %d: only the cloud says that a replay has ended", i)
		case e.GetEvent() == nil:
			return invalid("event %d of %q says nothing", i, e.GetSource())
		}
	}
	if size > maxPublish {
		return fmt.Errorf("%d events of %d bytes: %w: at most %d bytes at a time", len(events), size, ErrInvalid, maxPublish)
	}
	return nil
}

// bulky events are those that a replay can have any number of.
func bulky(e *cloudv1.ReplayEvent) bool {
	switch e.GetEvent().(type) {
	case *cloudv1.ReplayEvent_Log, *cloudv1.ReplayEvent_ClusterEvent, *cloudv1.ReplayEvent_Usage, *cloudv1.ReplayEvent_Failed:
		return true
	}
	return false
}

// keep returns the events that there is room for, and how many there is none for. The
// first time it adds an event that says so.
func (r *Replays) keep(l *eventLog, events []*cloudv1.ReplayEvent) (kept []*cloudv1.ReplayEvent, dropped uint64) {
	full := r.o.Full()
	count, bytes := l.last, l.bytes
	for _, e := range events {
		limit := r.o.Limits
		if !bulky(e) {
			limit.Events, limit.EventBytes = 2*limit.Events, 2*limit.EventBytes
		}
		size := uint64(proto.Size(e))
		if full != "" || count+1 > limit.Events || bytes+size > limit.EventBytes {
			dropped++
			continue
		}
		kept = append(kept, e)
		count, bytes = count+1, bytes+size
	}
	if l.dropped == 0 && dropped > 0 && full == "" {
		kept = append(kept, &cloudv1.ReplayEvent{Source: sourceCloud, Event: &cloudv1.ReplayEvent_Log{Log: &cloudv1.LogLine{Line: fmt.Sprintf(
			"the replay has more events than are kept (%d, or %d MiB): logs, cluster events, usage and failed pairs are left out from here on, and counted",
			r.o.Limits.Events, r.o.Limits.EventBytes>>20)}}})
	}
	return kept, dropped
}

// store appends events to the stream, and with them says how many were dropped so
// far. l.mu is held.
func (r *Replays) store(ctx context.Context, id string, l *eventLog, events []*cloudv1.ReplayEvent, dropped uint64) error {
	if len(events) == 0 {
		return nil
	}
	bytes := l.bytes
	for i, e := range events {
		e.Sequence = l.last + uint64(i) + 1
		if e.GetTime() == 0 {
			e.Time = time.Now().UnixNano()
		}
		bytes += uint64(proto.Size(e))
	}
	data, err := proto.Marshal(&cloudv1.PublishRequest{ReplayId: id, Events: events})
	if err != nil {
		return invalid("%w", err)
	}
	m := &nats.Msg{Subject: subjectPrefix + id, Data: data, Header: nats.Header{
		headerBytes:   {strconv.FormatUint(bytes, 10)},
		headerDropped: {strconv.FormatUint(dropped, 10)},
	}}
	// A message that was sent must not be given up half way: whether it is stored
	// would not be known, nor what the next sequence is.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	if _, err := r.js.PublishMsg(ctx, m); err != nil {
		l.loaded = false
		return fmt.Errorf("%w: stream %s: %w", ErrUnavailable, streamName, err)
	}
	l.last, l.bytes = l.last+uint64(len(events)), bytes
	r.events.Add(uint64(len(events)))
	return nil
}

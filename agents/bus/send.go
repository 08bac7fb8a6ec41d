package bus

import (
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/speedscale/speedscale/traffic"
)

// run is the publisher's one goroutine: it seals batches that have waited long
// enough, sends them, and takes the answers. Without a connection it sleeps.
func (p *Publisher) run() {
	defer close(p.done)
	defer p.release()
	timer := time.NewTimer(0)
	defer timer.Stop()
	closing, goodbye := p.closing, false
	for {
		send, next := p.plan()
		for _, b := range send {
			p.publish(b)
		}
		if closing == nil {
			done, said := p.finish(goodbye)
			if done || p.o.Conn.IsClosed() {
				return
			}
			if said != goodbye {
				goodbye = said
				continue
			}
		}
		timer.Reset(next)
		select {
		case m := <-p.answers:
			p.answer(m)
		case <-p.wake:
		case <-timer.C:
		case s := <-p.status:
			p.reconnected(s)
		case <-closing:
			closing = nil
		case <-p.abandon:
			return
		}
	}
}

// idle is how long run sleeps when it waits for events only.
const idle = time.Hour

// plan seals what is due, and returns the batches to send now and how long
// there is nothing else to do.
func (p *Publisher) plan() (send []*batch, next time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.o.Conn.IsConnected() {
		return nil, idle
	}
	now := time.Now()
	if wait := p.pausedUntil.Sub(now); wait > 0 {
		return nil, wait
	}
	next = idle
	if len(p.batches) == 0 && p.since.IsZero() && !p.closed {
		// The first one is a hello: a producer that dies before it had anything to
		// send is known by it.
		if next = p.lastSealed.Add(p.o.Heartbeat).Sub(now); next <= 0 {
			p.seal(whyHeartbeat)
			next = p.o.Heartbeat
		}
	}
	// While batches wait to be sent the open one may as well grow.
	if p.inFlight == len(p.batches) && p.inFlight < p.o.MaxInFlight && !p.since.IsZero() {
		delay := p.o.MaxDelay
		if p.open.pairs == 0 {
			delay *= 10 // losses alone are in no hurry
		}
		if wait := p.since.Add(delay).Sub(now); wait > 0 && !p.closed {
			next = wait
		} else if !p.seal(whyDue) {
			next = delay
		}
	}
	for _, b := range p.batches {
		switch {
		case b.sent && now.UnixNano() < b.deadline:
			next = min(next, time.Duration(b.deadline-now.UnixNano()))
			continue
		case b.sent:
			p.stats.Resent++
		case p.inFlight >= p.o.MaxInFlight:
			continue
		default:
			if b.attempts > 0 {
				p.stats.Resent++
			}
			b.sent = true
			p.inFlight++
		}
		b.attempts++
		b.deadline = now.Add(p.o.AckTimeout).UnixNano()
		next = min(next, p.o.AckTimeout)
		send = append(send, b)
	}
	return send, next
}

func (p *Publisher) publish(b *batch) {
	err := p.o.Conn.PublishRequest(p.subject, p.inbox+strconv.FormatUint(b.sequence, 10), b.buf)
	if err == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if errors.Is(err, nats.ErrMaxPayload) {
		p.refused(b, &Refusal{Reason: traffic.ReasonOversized, Final: true, Text: err.Error()})
		p.signal()
		return
	}
	p.refused(b, &Refusal{Reason: RefusedBusy, Text: err.Error()})
}

func (p *Publisher) answer(m *nats.Msg) {
	sequence, err := strconv.ParseUint(m.Subject[len(p.inbox):], 10, 64)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.find(sequence)
	if b == nil {
		return // a second answer to a batch that was sent twice
	}
	if r := refusalOf(m); r != nil {
		p.refused(b, r)
		return
	}
	p.acknowledged(b)
}

// reconnected has everything sent again that a lost connection may have lost.
func (p *Publisher) reconnected(s nats.Status) {
	if s != nats.RECONNECTING {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.batches {
		b.sent = false
	}
	p.inFlight = 0
	p.failures, p.pausedUntil = 0, time.Time{}
}

// finish says whether a publisher that is being closed is done, and seals the
// goodbye, with all that is left, once the batches before it are sent.
func (p *Publisher) finish(goodbye bool) (done, said bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if goodbye {
		return len(p.batches) == 0, true
	}
	p.seal(whyGoodbye)
	return false, true
}

// release gives all that is held back to the budget.
func (p *Publisher) release() {
	p.sub.Unsubscribe() // fails only where the connection is closed
	p.o.Conn.RemoveStatusListener(p.status)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.batches {
		if !b.emptied {
			p.countLost(traffic.ReasonUnacked, uint64(b.pairs))
		}
	}
	p.countLost(traffic.ReasonUnacked, uint64(p.open.pairs))
	p.give(p.held)
	p.open, p.free, p.inFlight = openBatch{}, nil, 0
}

// signal wakes run.
func (p *Publisher) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

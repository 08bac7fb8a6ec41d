package collector

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
)

// source is one run of a container, which has an id of its own.
type source struct {
	pod           *corev1.Pod
	container, id string
}

// place is where a run is among those of its container, whose logs are asked for by the
// container's name: it is the one that is now, the one before it, or can be asked for no
// more.
type place int

const (
	current place = iota
	previous
	past
)

// stream is the log of a source.
type stream struct {
	source
	// running says that more may come, and gone that its pod is.
	running, gone atomic.Bool
	// ended is closed when it is read.
	ended chan struct{}
	// place is guarded by Collector.mu, as are here, which ends when it changes, and leave,
	// which ends it.
	place place
	here  context.Context
	leave context.CancelFunc
	limit *rate.Limiter
	// inKey says that the lines are those of a private key; used by one goroutine.
	inKey bool
	// last is the time of the newest line that was read; used by one goroutine.
	last time.Time
	// dropped are counted since they were stated.
	dropped [dropReasons]atomic.Uint64
}

// retries is how often the log of a container that has ended is asked for again.
const retries = 3

// follow reads the log of a run of a container, unless that is done already.
func (c *Collector) follow(ctx context.Context, what source, at place, running bool) {
	if what.id == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[what.id]; s != nil {
		s.running.Store(running)
		return
	}
	if len(c.streams) >= maxStreams {
		bound(c.said)
		if c.said[what.id] {
			return
		}
		c.said[what.id] = true
		c.counts.dropped[dropStream].Add(1)
		c.log.Warn("log not followed", "pod", what.pod.Name, "container", what.container, "limit", maxStreams)
		return
	}
	s := &stream{
		source: what, place: at, ended: make(chan struct{}),
		limit: rate.NewLimiter(rate.Limit(c.o.Rate), 5*c.o.Rate),
		last:  c.o.Since,
	}
	s.here, s.leave = context.WithCancel(ctx)
	s.running.Store(running)
	var before []*stream
	if at == current {
		before = c.runs(what)
	}
	c.streams[what.id] = s
	c.running.Go(func() {
		defer close(s.ended)
		s.await(before)
		c.read(ctx, s)
	})
}

// runs are the streams of a container. It needs Collector.mu.
func (c *Collector) runs(of source) (list []*stream) {
	for _, s := range c.streams {
		if s.pod.UID == of.pod.UID && s.container == of.container {
			list = append(list, s)
		}
	}
	return list
}

// await waits for the runs before this one, and goes on where they ended: one that asked
// again just before its place was known may have read some of this one's lines.
func (s *stream) await(before []*stream) {
	for _, b := range before {
		<-b.ended
		if b.last.After(s.last) {
			s.last = b.last
		}
	}
}

// over says that it is read to its end.
func (s *stream) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// settle has the runs of a container that are followed know their place. One that is not
// the current one any more would go on with the lines of the one that is.
func (c *Collector) settle(ctx context.Context, p *corev1.Pod, status corev1.ContainerStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.runs(source{p, status.Name, status.ContainerID}) {
		if s.over() || status.ContainerID == "" || s.id == status.ContainerID {
			continue
		}
		now := past
		if last := status.LastTerminationState.Terminated; last != nil && last.ContainerID == s.id {
			now = previous
		}
		if s.place != now {
			s.leave()
			s.place = now
			s.here, s.leave = context.WithCancel(ctx)
			s.running.Store(false)
		}
	}
}

// at returns where a run is, and a context for as long as it is there.
func (c *Collector) at(s *stream) (place, context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.place, s.here
}

// read reads a stream to its end, and asks again when it broke off.
func (c *Collector) read(ctx context.Context, s *stream) {
	failures := 0
	for {
		at, here := c.at(s)
		if at == past {
			return
		}
		running := s.running.Load() // before the log is read to its end
		err := c.readOnce(here, s, at)
		if ctx.Err() != nil || apierrors.IsNotFound(err) {
			return
		}
		if here.Err() != nil {
			continue
		}
		if err == nil {
			failures = 0
		} else if failures++; failures == retries {
			c.noteOnce(warning, "LogNotCollected", "Pod/"+s.pod.Name, fmt.Sprintf("the log of container %q cannot be read: %v", s.container, err))
		}
		if !running && (err == nil || failures >= retries) {
			return
		}
		pause := time.NewTimer(min(time.Second<<min(failures, 4), 10*time.Second))
		select {
		case <-here.Done():
			pause.Stop()
		case <-pause.C:
		}
	}
}

func (c *Collector) readOnce(ctx context.Context, s *stream, at place) error {
	since := metav1.NewTime(s.last)
	body, err := c.o.Kube.CoreV1().Pods(s.pod.Namespace).GetLogs(s.pod.Name, &corev1.PodLogOptions{
		Container: s.container, Follow: at == current, Previous: at == previous, Timestamps: true, SinceTime: &since,
	}).Stream(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	r := bufio.NewReaderSize(body, maxLine)
	for {
		line, left, err := readLine(r)
		if err != nil && !errors.Is(err, io.EOF) {
			return err // half of a line is read again, since half of a secret is not known for one
		}
		if len(line) > 0 {
			c.line(s, line, left)
		}
		if err != nil {
			return nil
		}
	}
}

// readLine returns a line without its end, and how many bytes of it are left out.
// The line is good until the next call.
func readLine(r *bufio.Reader) (line []byte, left int, err error) {
	line, err = r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return bytes.TrimRight(line, "\r\n"), 0, err
	}
	line = bytes.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		var more []byte
		more, err = r.ReadSlice('\n')
		left += len(bytes.TrimRight(more, "\r\n"))
	}
	return line, left, err
}

// line publishes one line, which begins with its time. Of one that was cut the last
// word is left out too: half of a secret is not known for one.
func (c *Collector) line(s *stream, raw []byte, left int) {
	c.counts.lines.Add(1)
	at, text := splitTime(raw)
	if !at.After(s.last) {
		return // read before, when the stream broke off
	}
	s.last = at
	if left > 0 {
		n := bytes.LastIndexByte(text, ' ')
		if n <= 0 {
			c.drop(s, dropLong)
			return
		}
		left += len(text) - n
		text = text[:n]
	}
	if s.privateKey(text) {
		c.drop(s, dropKey)
		return
	}
	if !s.limit.Allow() {
		c.drop(s, dropRate)
		return
	}
	line := clip(c.o.Masker.Text(clean(string(text))), maxLine)
	if left > 0 {
		line += fmt.Sprintf(" [%d bytes left out]", left)
	}
	c.o.Publish(&cloudv1.ReplayEvent{Time: at.UnixNano(), Event: &cloudv1.ReplayEvent_Log{
		Log: &cloudv1.LogLine{Pod: s.pod.Name, Container: s.container, Line: line},
	}})
}

// splitTime takes the time off a line as the API writes it in front.
func splitTime(raw []byte) (time.Time, []byte) {
	first, rest, _ := bytes.Cut(raw, []byte(" "))
	at, err := time.Parse(time.RFC3339Nano, string(first))
	if err != nil {
		return time.Now(), raw
	}
	return at, rest
}

// privateKey says that a line is inside of a private key in PEM form (RFC 7468), of
// which single lines look like nothing.
func (s *stream) privateKey(text []byte) bool {
	const dashes = "-----"
	begin := bytes.Contains(text, []byte(dashes+"BEGIN ")) && bytes.Contains(text, []byte("PRIVATE KEY"))
	end := bytes.Contains(text, []byte(dashes+"END "))
	inside := s.inKey || begin
	s.inKey = inside && !end
	return inside
}

// clean makes text that may be shown: valid UTF-8, without control characters such
// as those that steer a terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// clip bounds text that is clean and masked already.
func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "")
}

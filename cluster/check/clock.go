package check

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	// clockTolerance is how far clocks may be apart before it is worth a word. Tokens and
	// certificates bear more, but recordings of several hosts are then told in a wrong order.
	clockTolerance = 30 * time.Second
	// dateResolution is that of the header Date (RFC 9110, section 5.6.7), which is cut off.
	dateResolution = time.Second
)

// Clock reads an API server's clock from the header Date of its answers
// (RFC 9110, section 6.6.1). It is safe for concurrent use.
type Clock struct {
	mu     sync.Mutex
	offset Offset
	within time.Duration // how long the exchange took that it is known by
}

// Wrap returns a transport that looks at what passes: it has the form of rest.Config's
// wrappers.
func (c *Clock) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		sent := time.Now()
		res, err := next.RoundTrip(r)
		if err == nil {
			c.see(res.Header.Get("Date"), sent, time.Now())
		}
		return res, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// see keeps what the quickest exchange says.
func (c *Clock) see(date string, sent, received time.Time) {
	at, err := http.ParseTime(date)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if took := received.Sub(sent); !c.offset.Known || took < c.within {
		c.offset, c.within = Between(at.Add(dateResolution/2), sent, received), took
	}
}

// Offset is what was seen so far.
func (c *Clock) Offset() Offset {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset
}

// Between is how far a clock is ahead of this machine's that showed a time at some moment
// between two of this machine's, when it was asked and when the answer came.
func Between(at, sent, received time.Time) Offset {
	return Offset{By: at.Sub(sent.Add(received.Sub(sent) / 2)), Known: true}
}

// apart judges two clocks; how says by what they were compared.
func apart(by time.Duration, first, second, how string) Result {
	if by.Abs() <= clockTolerance {
		return ok("less than %s apart, by %s", clockTolerance, how)
	}
	ahead := "behind"
	if by > 0 {
		ahead = "ahead of"
	}
	return warn(fmt.Sprintf("set the clocks, by NTP for one: %s and %s are compared by %s", first, second, how),
		"the clock of %s is %s %s that of %s", first, by.Abs().Round(time.Second), ahead, second)
}

func apiClock(f *Facts) Result {
	if !f.Clock.Known {
		return skip("the API server's answers have no date")
	}
	return apart(f.Clock.By, "the API server", "this machine", "the header Date of the API server's answers")
}

func cloudClock(f *Facts) Result {
	switch {
	case f.Cloud == nil || f.Cloud.Err != nil:
		return skip("the cloud was not reached")
	case !f.Cloud.Clock.Known:
		return ok("not compared: without telemetry the cloud does not tell its time")
	}
	return apart(f.Cloud.Clock.By, "the cloud", "this machine", "the time in the cloud's answer")
}

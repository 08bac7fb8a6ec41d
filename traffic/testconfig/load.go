package testconfig

import (
	"slices"
	"time"
)

// Load says when requests are sent. Exactly one of Speed, Rate, Stages (open model:
// each request has a planned time) and Users (closed model) is set.
//
// Speed, Rate and Stages are of the whole replay: its generators divide them.
// Users is of each generator, as documented (performance_10replicas has 100 users
// in each of 10 generators).
type Load struct {
	// Speed is times the recorded pace.
	Speed float64
	// Rate is a constant number of requests a second.
	Rate float64
	// Stages change the rate over time.
	Stages []Stage
	// Users is how many virtual users there are. Each sends every recorded
	// request in order, and waits for a response before its next request.
	Users int
	// For ends the sending after so long, with the recorded requests over and over;
	// 0 means when each was sent once. It is 0 with Stages.
	For time.Duration
}

// Stage is a stretch of time in which the rate changes evenly from that of the
// stage before (0 at first) to Rate, in requests a second. A jump is a stretch of
// a nanosecond.
type Stage struct {
	Rate float64
	For  time.Duration
}

// Load is what the stages of the config ask for; without any, requests are sent
// once at their recorded pace.
func (c Config) Load() Load {
	stages := c.doc.Generator.Stages
	if len(stages) == 0 {
		return Load{Speed: 1}
	}
	first := stages[0]
	switch {
	case first.VirtualUsers != nil:
		return Load{Users: first.VirtualUsers.VirtualUsers, For: time.Duration(first.Duration)}
	case first.Arrivals.Rate == nil:
		return Load{Speed: first.Arrivals.RecordedMultiple, For: time.Duration(first.Duration)}
	case len(stages) == 1 && first.RampFor == 0:
		return Load{Rate: *first.Arrivals.Rate, For: time.Duration(first.Duration)}
	}
	var l Load
	rate := 0.0
	for _, s := range stages {
		to, ramp, length := *s.Arrivals.Rate, time.Duration(s.RampFor), time.Duration(s.Duration)
		if ramp == 0 && to != rate {
			ramp = 1
		}
		if ramp > 0 {
			l.Stages = append(l.Stages, Stage{Rate: to, For: ramp})
		}
		if length > ramp {
			l.Stages = append(l.Stages, Stage{Rate: to, For: length - ramp})
		}
		rate = to
	}
	l.Stages = slices.Clip(l.Stages)
	return l
}

package generator

import (
	"encoding/json"
	"time"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic/report"
)

// Event is the progress as those who follow a replay are told it.
func (p Progress) Event() *cloudv1.ReplayEvent {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return &cloudv1.ReplayEvent{Event: &cloudv1.ReplayEvent_Progress{Progress: &cloudv1.ReplayProgress{
		Total: p.Total, Sent: p.Sent, Passed: p.Passed, Failed: p.Failed, Errors: p.Errors,
		Rate: p.Rate, P50: ms(p.P50), P95: ms(p.P95), P99: ms(p.P99),
	}}}
}

// FailureEvent is a failure as those who follow a replay are told it.
func FailureEvent(f report.Failure) *cloudv1.ReplayEvent {
	text, err := json.Marshal(f)
	if err != nil {
		text = nil // does not happen: texts, numbers and times can always be written
	}
	return &cloudv1.ReplayEvent{Event: &cloudv1.ReplayEvent_Failed{Failed: &cloudv1.FailedPair{
		Method: f.Method, Path: f.Path, Failure: text,
	}}}
}

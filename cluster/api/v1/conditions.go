package v1

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The types of conditions of a TrafficReplay.
const (
	// ConditionReady turns True when the replay has ended, whatever the verdict.
	ConditionReady = "Ready"
	// ConditionPassed is the verdict.
	ConditionPassed = "Passed"
	// ConditionMocksReady is True while the responder answers for the mocks.
	ConditionMocksReady = "MocksReady"
)

// The reasons of ConditionReady once it is True.
const (
	ReasonTestSucceeded = "TestSucceeded"
	ReasonTestFailed    = "TestFailed"
	ReasonError         = "Error"
	ReasonCanceled      = "Canceled"
)

// The reasons of ConditionReady before: the phase that the replay is in.
const (
	ReasonWaiting    = "Waiting"           // for another replay of a workload
	ReasonPreparing  = "Preparing"         // the cloud gives snapshot, test config and token
	ReasonResponder  = "StartingResponder" // the mocks' server starts
	ReasonWorkload   = "StartingWorkload"  // the workloads get their routing
	ReasonGenerating = "Generating"        // requests are sent
	ReasonMocking    = "Mocking"           // mocks are answered until the replay is deleted
	ReasonReporting  = "Reporting"         // the parts become a report
	ReasonCleaningUp = "CleaningUp"        // the workloads get back what they were
)

// Finalizer keeps a TrafficReplay as long as its workloads may have something of it.
const Finalizer = "speedscale.com/trafficreplay"

// SetCondition puts a condition into the status, and returns whether that
// changed anything. LastTransitionTime becomes now when the condition's status
// is another one, and the condition then stands last, where the printer column
// Status takes its message from.
func (s *TrafficReplayStatus) SetCondition(c metav1.Condition, now time.Time) bool {
	i := slices.IndexFunc(s.Conditions, func(old metav1.Condition) bool { return old.Type == c.Type })
	if i >= 0 && s.Conditions[i].Status == c.Status {
		c.LastTransitionTime = s.Conditions[i].LastTransitionTime
		if s.Conditions[i] == c {
			return false
		}
		s.Conditions[i] = c
		return true
	}
	if i >= 0 {
		s.Conditions = slices.Delete(s.Conditions, i, i+1)
	}
	c.LastTransitionTime = metav1.NewTime(now)
	s.Conditions = append(s.Conditions, c)
	return true
}

// Condition returns a copy of the condition of a type, nil where there is none.
func (s *TrafficReplayStatus) Condition(kind string) *metav1.Condition {
	for _, c := range s.Conditions {
		if c.Type == kind {
			return &c
		}
	}
	return nil
}

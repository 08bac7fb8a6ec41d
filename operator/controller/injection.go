package controller

import (
	"fmt"
	"slices"
	"strings"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/inject"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// Injection is what is known of a workload and its pods.
type Injection struct {
	Kind, Name string
	// Settings are what its annotations ask for.
	Settings annotation.Sidecar
	// Stamp is that of its pod template, and Refused why one was withdrawn; "" for none.
	Stamp, Refused string
	// Held says why its pods are not made anew when its template changes; "" where
	// they are.
	Held string
	// Elsewhere says whose template its pods are of; "" where it is its own.
	Elsewhere string
	// Missing says that it has fewer pods than it should have.
	Missing bool
	// Failure is what the API server said, with this stamp on the template, of a pod
	// that it refused; "" for nothing.
	Failure string
	// Pods are those that are not going away.
	Pods []InjectedPod
}

// InjectedPod is a pod of a workload.
type InjectedPod struct {
	// Stamp is that of the template which it was made of.
	Stamp string
	// Injected says that it has a sidecar, Refused why it has none.
	Injected bool
	Refused  string
}

// Step is what is to be done about a workload. The zero value is nothing.
type Step struct {
	// Stamp is to be written on the pod template where Restamp is set; "" takes it away.
	Restamp bool
	Stamp   string
	// Roll says that pods are made anew by it, which is done for a few workloads at a
	// time only.
	Roll bool
	// Refused, where it is set, is to be written on the workload.
	Refused string
	// Reports are for the workload's owner.
	Reports []Report
}

// Report is an event of a workload.
type Report struct {
	// Reason is one of the Reason constants.
	Reason string
	// Text says what happened, and what can be done.
	Text string
}

// Reasons of events.
const (
	ReasonNotInjected = "SidecarNotInjected" // pods run without a sidecar, for a reason of theirs
	ReasonWithdrawn   = "SidecarWithdrawn"   // pods could not be made with one
	ReasonMissing     = "SidecarMissing"     // the operator was away when pods were made
	ReasonRolled      = "SidecarRolledOut"   // pods are made anew, to have one
)

// Decide returns what is to be done.
func Decide(i Injection) Step {
	switch {
	case i.Settings.Ignore:
		return Step{}
	case i.Elsewhere != "":
		return Step{Reports: i.elsewhere()}
	case !i.Settings.Inject:
		// The operator was away when the owner took the annotation away.
		return Step{Restamp: i.Stamp != ""}
	case i.refused():
		return Step{Restamp: i.Stamp != ""}
	}
	want := stamp.Next(i.Stamp, i.Kind, i.Name, i.Settings)
	if i.Stamp != want {
		return Step{Restamp: true, Stamp: want, Roll: i.Held == "", Reports: i.stampedLate()}
	}
	if i.unmakeable() {
		text := "the API server refuses pods with the sidecar, so that pods are made without one: " + i.Failure
		return Step{
			Restamp: true, Refused: stamp.Refusal{Hash: i.Settings.Hash(), Reason: text}.String(),
			Reports: []Report{{ReasonWithdrawn, text}},
		}
	}
	step := Step{Reports: i.refusals()}
	unseen := i.count(func(p InjectedPod) bool { return !p.Injected && p.Refused == "" })
	switch {
	case unseen == 0:
	case i.Held != "":
		step.Reports = append(step.Reports, Report{ReasonMissing, fmt.Sprintf(
			"pods were made while the operator was away, and have no sidecar; they stay, since %s", i.Held)})
	default:
		step.Restamp, step.Roll, step.Stamp = true, true, raised(i.Stamp)
		step.Reports = append(step.Reports, Report{ReasonRolled,
			"pods were made while the operator was away, and have no sidecar; they are made anew"})
	}
	return step
}

// refused says that the stamp was withdrawn for the settings that the workload has.
func (i Injection) refused() bool {
	r, err := stamp.ParseRefusal(i.Refused)
	return err == nil && r.Hash == i.Settings.Hash()
}

// elsewhere is said of what asks for a sidecar, and has no template for it.
func (i Injection) elsewhere() []Report {
	if !i.Settings.Inject {
		return nil
	}
	return []Report{{ReasonNotInjected, i.Elsewhere}}
}

func (i Injection) stampedLate() []Report {
	if i.Held == "" {
		return []Report{{ReasonRolled, "it asks for a sidecar; its pods are made anew"}}
	}
	return []Report{{ReasonMissing, "it asks for a sidecar, which only new pods have; those that run stay, since " + i.Held}}
}

// unmakeable says that pods are refused for the sidecar: the API server says so, or no
// pod with this stamp could be made while some are missing.
func (i Injection) unmakeable() bool {
	for _, name := range []string{inject.Goproxy, inject.Initproxy} {
		if strings.Contains(i.Failure, name) {
			return true
		}
	}
	return i.Failure != "" && i.Missing && i.count(func(InjectedPod) bool { return true }) == 0
}

// count of the pods that were made of the template as it is.
func (i Injection) count(is func(InjectedPod) bool) (n int) {
	for _, p := range i.Pods {
		if p.Stamp == i.Stamp && is(p) {
			n++
		}
	}
	return n
}

// refusals are the reasons that pods of the template say, each once.
func (i Injection) refusals() (reports []Report) {
	for _, p := range i.Pods {
		r := Report{ReasonNotInjected, p.Refused}
		if p.Refused != "" && p.Stamp == i.Stamp && !slices.Contains(reports, r) {
			reports = append(reports, r)
		}
	}
	return reports
}

// raised is a stamp that means the same, by which pods are made anew.
func raised(text string) string {
	s, err := stamp.Parse(text)
	if err != nil {
		return text // which stamp.Next would not have left as it is
	}
	s.Count++
	return s.String()
}

package controller

import (
	"slices"
	"strings"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/inject"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// Injection is what is known of a workload and its pods.
type Injection struct {
	Kind, Name string
	// Others says that it is for others to look after, or for nobody.
	Others bool
	// Settings are what its annotations ask for, and Wrong is why that cannot be told; ""
	// where it can.
	Settings annotation.Sidecar
	Wrong    string
	// Stamp is that of its pod template, and Refused why one was withdrawn; "" for none.
	Stamp, Refused string
	// Held says why its pods are not made anew when its template changes; "" where
	// they are.
	Held string
	// Fixed says that its template cannot change any more.
	Fixed bool
	// Elsewhere says whose template its pods are of; "" where it is its own.
	Elsewhere string
	// Missing says that it has fewer pods than it should have. Whole says that it has had
	// all of them with this stamp, so that they can be made.
	Missing, Whole bool
	// Failure is what the API server said, with this stamp on the template, of a pod
	// that it refused and still refuses; "" for nothing.
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
	// Untrusting says that it trusts another certificate than the forwarder's.
	Untrusting bool
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
	ReasonShort       = "SidecarPodRefused"  // a pod could not be made with one, though others could before
	ReasonWrong       = "SidecarSettings"    // annotations are wrong
	ReasonMissing     = "SidecarMissing"     // the operator was away when pods were made
	ReasonUntrusted   = "SidecarCertificate" // pods do not trust the forwarder any more
	ReasonRolled      = "SidecarRolledOut"   // pods are made anew, to have one
)

// Decide returns what is to be done.
func Decide(i Injection) Step {
	switch {
	case i.Others || i.Fixed && i.Settings.Ignore:
		return Step{}
	case i.Wrong != "":
		return Step{Reports: []Report{{ReasonWrong, "it is left as it is, since its annotations are wrong: " + i.Wrong}}}
	case i.Elsewhere != "":
		return Step{Reports: i.elsewhere()}
	case i.Fixed:
		return i.fixed()
	case !i.Settings.Inject || i.Settings.Ignore:
		// The operator was away when the owner took the annotation away, or wrote ignore.
		return Step{Restamp: i.Stamp != ""}
	case i.refused(i.Settings.Hash()):
		return Step{Restamp: i.Stamp != ""}
	}
	want := stamp.Next(i.Stamp, i.Kind, i.Name, i.Settings)
	if i.Stamp != want {
		return Step{Restamp: true, Stamp: want, Roll: i.Held == "", Reports: i.stampedLate()}
	}
	if i.unmakeable() {
		step := i.withdraw(i.Settings.Hash())
		step.Restamp = true
		return step
	}
	step := Step{Reports: i.reports()}
	if i.unseen() && i.Held == "" {
		step.Restamp, step.Roll, step.Stamp = true, true, raised(i.Stamp)
	}
	return step
}

// fixed decides about a workload whose pods are made by the stamp that its template
// began with, whatever its annotations say by now. Where that is refused the webhook
// lets the pods in as they are.
func (i Injection) fixed() Step {
	s, err := stamp.Parse(i.Stamp)
	switch {
	case err != nil && i.Settings.Inject && !i.refused(i.Settings.Hash()):
		return Step{Reports: i.stampedLate()}
	case err != nil || i.refused(s.Hash):
		return Step{}
	case i.unmakeable():
		return i.withdraw(s.Hash)
	}
	return Step{Reports: i.reports()}
}

// withdraw notes that pods cannot be made with the settings of the hash.
func (i Injection) withdraw(hash string) Step {
	text := "the API server refuses pods with the sidecar, so that pods are made without one: " + i.Failure
	return Step{Refused: stamp.Refusal{Hash: hash, Reason: text}.String(), Reports: []Report{{ReasonWithdrawn, text}}}
}

// refused says that the stamp was withdrawn for the settings of the hash.
func (i Injection) refused(hash string) bool {
	r, err := stamp.ParseRefusal(i.Refused)
	return err == nil && r.Hash == hash
}

// elsewhere is said of what asks for a sidecar, and has no template for it.
func (i Injection) elsewhere() []Report {
	if !i.Settings.Inject || i.Settings.Ignore {
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

// unmakeable says that pods are refused for the sidecar. The API server says so, or pods
// are missing of which all, or some, could never be made with this stamp: a quota may have
// room for some of them only. Once all were there, others may have used the quota up, and
// the sidecar stays, unless the app has no pod left.
func (i Injection) unmakeable() bool {
	for _, name := range []string{inject.Goproxy, inject.Initproxy} {
		if strings.Contains(i.Failure, name) {
			return true
		}
	}
	return i.Failure != "" && i.Missing && (!i.Whole || i.made() == 0)
}

// made is how many pods there are of the template as it is.
func (i Injection) made() int { return i.count(func(InjectedPod) bool { return true }) }

// unseen says that pods were made of the template while the operator was away.
func (i Injection) unseen() bool {
	return i.count(func(p InjectedPod) bool { return !p.Injected && p.Refused == "" }) > 0
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

// reports are what its owner is to know of its pods: the reasons that those of the
// template say, each once, those that are missing, and those without a sidecar.
func (i Injection) reports() (reports []Report) {
	for _, p := range i.Pods {
		r := Report{ReasonNotInjected, p.Refused}
		if p.Refused != "" && p.Stamp == i.Stamp && !slices.Contains(reports, r) {
			reports = append(reports, r)
		}
	}
	if slices.ContainsFunc(i.Pods, func(p InjectedPod) bool { return p.Untrusting }) {
		reports = append(reports, Report{ReasonUntrusted, "pods trust a certificate that the forwarder does not have any more, so that nothing of them is captured; " +
			"kubectl rollout restart makes them anew, and speedctl upgrade --roll those of all workloads"})
	}
	if i.Missing && i.Failure != "" {
		reports = append(reports, Report{ReasonShort,
			"the API server refuses a pod, though it has had all of them with the sidecar before, which they keep: " + i.Failure})
	}
	const away = "pods were made while the operator was away, and have no sidecar; they "
	switch {
	case !i.unseen():
	case i.Held != "":
		reports = append(reports, Report{ReasonMissing, away + "stay, since " + i.Held})
	default:
		reports = append(reports, Report{ReasonRolled, away + "are made anew"})
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

// Package quiet finds directions of traffic in which the sidecars of a workload saw
// nothing since they started, and says what may be the reason. Forward, reverse and dual
// mode otherwise capture nothing, silently, where the app or its Service do not go
// through the proxy.
package quiet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/speedscale/speedscale/agents/config"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
)

// Reasons of the events by which a pod is told.
const (
	EventQuiet = "DirectionQuiet" // it saw nothing
	EventSeen  = "DirectionSeen"  // it did, after all
)

// Repeat is how often an EventQuiet that is a warning is said again while it holds: less than the hour for
// which an API server keeps events by default (kube-apiserver, --event-ttl).
const Repeat = 45 * time.Minute

// Finding is a direction in which no sidecar of a workload saw anything.
type Finding struct {
	// Namespace is the workload's, and Service its name in what is captured.
	Namespace, Service string
	// Outbound says which direction it is.
	Outbound bool
	// Warning says that something is likely to be wrong. Otherwise it is as it should be
	// for a workload that nobody calls, or that calls nobody.
	Warning bool
	// Text says what was found, and Hint what can be done.
	Text, Hint string
	// Pods are its pods, by name.
	Pods []string
}

// Note is the text of the event.
func (f Finding) Note() string { return f.Text + hintMark + f.Hint }

const hintMark = "; hint: "

// Read splits what Note or Seen returned.
func Read(note string) (text, hint string, outbound bool) {
	text, hint, _ = strings.Cut(note, hintMark)
	return text, hint, strings.Contains(text, way(true))
}

// Seen is the text of an EventSeen.
func Seen(outbound bool) string { return "goproxy has seen something " + way(outbound) + " by now" }

func way(outbound bool) string {
	if outbound {
		return "go out"
	}
	return "come in"
}

type group struct {
	namespace, service, mode string
	outbound                 bool
}

// Find looks at the telemetry of all sidecars of a cluster. A direction counts when one
// of the workload's sidecars had config.QuietAfter to see something, and none did; those of
// a replay are left out, since it decides what they see.
func Find(sidecars []*cloudv1.SidecarTelemetry) []Finding {
	pods := map[group][]string{}
	seen := map[group]bool{}
	for _, s := range sidecars {
		if s.GetPod() == "" || s.GetReplay() != "" {
			continue
		}
		old := time.Duration(s.GetTime()-s.GetStarted()) >= config.QuietAfter
		for outbound, d := range map[bool]*cloudv1.DirectionTelemetry{false: s.GetInbound(), true: s.GetOutbound()} {
			g := group{s.GetNamespace(), s.GetService(), s.GetMode(), outbound}
			switch {
			case d == nil:
			case d.GetLastSeen() != 0:
				seen[g] = true
			case old:
				pods[g] = append(pods[g], s.GetPod())
			}
		}
	}
	var found []Finding
	for g, names := range pods {
		if seen[g] {
			continue
		}
		f := Finding{Namespace: g.namespace, Service: g.service, Outbound: g.outbound, Pods: names, Warning: g.mode != config.ModeTransparent}
		f.Text, f.Hint = explain(g.mode, g.outbound)
		slices.Sort(f.Pods)
		found = append(found, f)
	}
	slices.SortFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Text, b.Text))
	})
	return found
}

func explain(mode string, outbound bool) (text, hint string) {
	text = fmt.Sprintf("in %s mode goproxy has seen nothing %s since it started", mode, way(outbound))
	switch {
	case mode != config.ModeTransparent && outbound:
		return text, "the app may ignore HTTP_PROXY, HTTPS_PROXY and ALL_PROXY: give it goproxy as its proxy in its own settings, or use proxy-type transparent"
	case mode != config.ModeTransparent:
		return text, "the Service, or who calls it, may not go to goproxy's inbound port: a numeric targetPort has to be that one, and speedctl inject prints the change"
	case outbound:
		return text, "that is as it should be for an app that calls nothing; what the annotations ignore-dst-… and ignore-outbound-ports name is never seen"
	}
	return text, "that is as it should be for an app that nobody calls; probes, clients that look like the node, and what ignore-src-… and ignore-inbound-ports name are never seen"
}

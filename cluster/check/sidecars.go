package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/speedscale/speedscale/agents/config"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/inject"
	"github.com/speedscale/speedscale/cluster/quiet"
	"github.com/speedscale/speedscale/traffic"
)

// sidecarsReady looks at the sidecar only: why an app is not ready is its owner's.
func sidecarsReady(f *Facts) []Result {
	if f.InjectedError != nil {
		return []Result{skip("%v", f.InjectedError)}
	}
	var bad []Result
	for i := range f.Injected {
		p := &f.Injected[i]
		if why := sidecarStuck(p); why != "" {
			hint := fmt.Sprintf("kubectl -n %s logs %s -c %s --previous, and kubectl describe pod, say more", p.Namespace, p.Name, inject.Goproxy)
			bad = append(bad, fail(hint, "%s", why).of("pod "+p.Namespace+"/"+p.Name))
		}
	}
	return each(bad, ok("%d pods have one", len(f.Injected)))
}

// sidecarStuck says why a pod's sidecar does not run, "" where it does, or is starting.
func sidecarStuck(p *corev1.Pod) string {
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if !slices.Contains([]string{inject.Goproxy, inject.Initproxy, inject.InitCA}, c.Name) {
			continue
		}
		if wait := c.State.Waiting; wait != nil && wait.Reason != "PodInitializing" && wait.Reason != "ContainerCreating" {
			return strings.TrimSuffix(fmt.Sprintf("container %q waits: %s: %s", c.Name, wait.Reason, wait.Message), ": ")
		}
		if end := c.State.Terminated; end != nil && end.ExitCode != 0 {
			return fmt.Sprintf("container %q ended with %d (%s)", c.Name, end.ExitCode, end.Reason)
		}
	}
	return ""
}

// sidecarsVersion compares images: an upgrade leaves pods as they are.
func sidecarsVersion(f *Facts) []Result {
	is := f.release()
	switch {
	case f.InjectedError != nil:
		return []Result{skip("%v", f.InjectedError)}
	case is == "":
		return []Result{skip("the operator's version is not known")}
	}
	others := map[string]map[string]int{} // pods, by namespace and version
	for i := range f.Injected {
		p := &f.Injected[i]
		got := tagOf(&p.Spec, inject.Goproxy)
		if sameVersion(got, is) {
			continue
		}
		if others[p.Namespace] == nil {
			others[p.Namespace] = map[string]int{}
		}
		others[p.Namespace][got]++
	}
	var bad []Result
	for _, namespace := range slices.Sorted(maps.Keys(others)) {
		var parts []string
		for _, version := range slices.Sorted(maps.Keys(others[namespace])) {
			parts = append(parts, fmt.Sprintf("%d of %s", others[namespace][version], version))
		}
		bad = append(bad, warn("speedctl upgrade --roll makes their pods anew; until then they go on working",
			"sidecars are of other versions than the operator's %s: %s", is, strings.Join(parts, ", ")).of("namespace "+namespace))
	}
	return each(bad, ok("%s", is))
}

// sidecarsTold are what the sidecars that are still there say of themselves.
func sidecarsTold(f *Facts) ([]*cloudv1.SidecarTelemetry, []Result) {
	t, why := told(f)
	if t == nil {
		return nil, []Result{why}
	}
	gone := func(s *cloudv1.SidecarTelemetry) bool { return s.GetGone() }
	return slices.DeleteFunc(slices.Clone(t.GetSidecars()), gone), nil
}

func sidecarsCapture(f *Facts) []Result {
	all, why := sidecarsTold(f)
	if why != nil {
		return why
	}
	var bad []Result
	for _, s := range all {
		pod := "pod " + s.GetNamespace() + "/" + s.GetPod()
		if s.GetCaptureDisabled() {
			bad = append(bad, fail(fmt.Sprintf("kubectl -n %s logs %s -c %s --previous says why; a new pod captures again", s.GetNamespace(), s.GetPod(), inject.Goproxy),
				"after %d restarts it relays, and captures nothing", s.GetRestarts()).of(pod))
		}
		for _, r := range tlsReports(s.GetNamespace(), s.GetPod()) {
			if n := s.GetTls()[r.outcome]; n > 0 {
				bad = append(bad, warn(r.hint, "%d TLS connections were %s", n, r.text).of(pod))
			}
		}
	}
	return each(bad, ok("all %d", len(all)))
}

// tlsReport is what is said of TLS connections with an outcome that somebody may want to change.
type tlsReport struct{ outcome, text, hint string }

func tlsReports(namespace, pod string) []tlsReport {
	log := fmt.Sprintf("kubectl -n %s logs %s -c %s names the ", namespace, pod, inject.Goproxy)
	file := log + "file, and speedctl why the Secret or ConfigMap"
	return []tlsReport{
		{config.TLSUnusableFile, "relayed unopened, since a file that its annotations name is missing or wrong", file},
		{config.TLSStaleFile, "opened with what a file held that its annotations name, since it has become missing or wrong", file},
		{config.TLSUnverifiedHost, "relayed unopened, since the host's certificate could not be verified (unverified_host)",
			log + "host; the annotation tls-out-ca has roots that verify it"},
		{config.TLSRejectedCert, "relayed unopened, since the host did not take the certificate of tls-mutual-* (rejected_client_certificate)",
			log + "host; it may have expired, or be of another CA than the host asks for"},
	}
}

// chosenLoss are the reasons of losses that are somebody's choice, or the app's own nature.
func chosenLoss(reason string) bool {
	switch reason {
	case traffic.ReasonFiltered, traffic.ReasonSampled, traffic.ReasonReplay, traffic.ReasonDataOff, traffic.ReasonOpaqueTLS,
		traffic.ReasonUnknown, traffic.ReasonUpgraded, traffic.ReasonIncomplete:
		return true
	}
	return false
}

// sidecarsDrops names the workloads whose sidecars lose more and more.
func sidecarsDrops(f *Facts) []Result {
	all, why := sidecarsTold(f)
	if why != nil {
		return why
	}
	lost := map[string]map[string]uint64{} // by workload and reason
	for _, s := range all {
		for _, l := range slices.Concat(s.GetInbound().GetLost(), s.GetOutbound().GetLost(), s.GetUnsent()) {
			n := l.GetRecentPairs() + l.GetRecentConnections()
			if n == 0 || chosenLoss(l.GetReason()) {
				continue
			}
			name := workloadName(s.GetNamespace(), s.GetService())
			if lost[name] == nil {
				lost[name] = map[string]uint64{}
			}
			lost[name][l.GetReason()] += n
		}
	}
	var bad []Result
	for _, name := range slices.Sorted(maps.Keys(lost)) {
		var parts []string
		for _, reason := range slices.Sorted(maps.Keys(lost[name])) {
			parts = append(parts, fmt.Sprintf("%s %d", reason, lost[name][reason]))
		}
		bad = append(bad, warn(dropHint(lost[name]), "lately %s", strings.Join(parts, ", ")).of(name))
	}
	return each(bad, ok("of what came lately"))
}

func dropHint(reasons map[string]uint64) string {
	switch {
	case reasons[traffic.ReasonUnacked]+reasons[traffic.ReasonSpoolFull]+reasons[traffic.ReasonNoRules] > 0:
		return "the forwarder does not take it: the checks of it, and its log, say why"
	case reasons[traffic.ReasonDisabled] > 0:
		return "goproxy died again and again: kubectl logs POD -c speedscale-goproxy --previous says why"
	case reasons[traffic.ReasonBudget]+reasons[traffic.ReasonQueue]+reasons[traffic.ReasonGap] > 0:
		return "the annotations sidecar.speedscale.com/memory-limit and cpu-limit give it more"
	}
	return "kubectl logs POD -c speedscale-goproxy says more"
}

// sidecarsQuiet names workloads whose sidecars see nothing in a direction. Where nothing
// else is to be expected, the result is a note.
func sidecarsQuiet(f *Facts) []Result {
	all, why := sidecarsTold(f)
	if why != nil {
		return why
	}
	var warnings, notes []Result
	for _, q := range quiet.Find(all) {
		text := fmt.Sprintf("%s (%d pods, such as %s)", q.Text, len(q.Pods), q.Pods[0])
		if q.Warning {
			warnings = append(warnings, warn(q.Hint, "%s", text).of(workloadName(q.Namespace, q.Service)))
			continue
		}
		note := ok("%s", text).of(workloadName(q.Namespace, q.Service))
		note.Hint = q.Hint
		notes = append(notes, note)
	}
	if len(warnings)+len(notes) == 0 {
		return []Result{ok("in every direction")}
	}
	return append(shorten(warnings), shorten(notes)...)
}

func sidecarsClock(f *Facts) []Result {
	all, why := sidecarsTold(f)
	if why != nil {
		return why
	}
	var bad []Result
	for _, s := range all {
		if s.GetReceived() == 0 || s.GetTime() == 0 {
			continue
		}
		r := apart(time.Duration(s.GetTime()-s.GetReceived()), "the sidecar", "the forwarder", "the time in the sidecar's telemetry and that of its arrival")
		if r.Status != OK {
			bad = append(bad, r.of("pod "+s.GetNamespace()+"/"+s.GetPod()))
		}
	}
	return each(bad, ok("less than %s apart, by the time in telemetry and that of its arrival", clockTolerance))
}

func workloadName(namespace, service string) string {
	if namespace == "" {
		return service
	}
	return namespace + "/" + service
}

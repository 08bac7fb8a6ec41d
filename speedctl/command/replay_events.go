package command

import (
	"encoding/json"
	"io"
	"sync"
	"time"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
)

// eventLines writes the events of a replay for programs: a JSON object a line, with time
// (RFC 3339), source, and one member that is named after the kind of event. Numbers that
// are 0 are there too.
type eventLines struct {
	mu  sync.Mutex
	out io.Writer
}

// write leaves an error to the report, which is written last.
func (l *eventLines) write(at time.Time, source, kind string, value any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	enc := json.NewEncoder(l.out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(map[string]any{"time": at.UTC(), "source": source, kind: value})
}

// condition writes what the replay's object says.
func (l *eventLines) condition(reason, message string) {
	l.write(time.Now(), "operator", "condition", map[string]any{"reason": reason, "message": message})
}

func (l *eventLines) event(e *cloudv1.ReplayEvent) {
	kind, value := eventJSON(e)
	if kind != "" {
		l.write(time.Unix(0, e.GetTime()), e.GetSource(), kind, value)
	}
}

// eventJSON is an event's kind, and what it says, with the names of reports.
func eventJSON(e *cloudv1.ReplayEvent) (kind string, value map[string]any) {
	switch e := e.GetEvent().(type) {
	case *cloudv1.ReplayEvent_Phase:
		p := e.Phase
		return "phase", map[string]any{"name": p.GetName(), "state": p.GetState(), "text": p.GetText(), "pods": p.GetPods()}
	case *cloudv1.ReplayEvent_Progress:
		p := e.Progress
		return "progress", map[string]any{
			"total": p.GetTotal(), "sent": p.GetSent(), "passed": p.GetPassed(), "failed": p.GetFailed(), "errors": p.GetErrors(),
			"perSecond": p.GetRate(), "p50": p.GetP50(), "p95": p.GetP95(), "p99": p.GetP99(),
		}
	case *cloudv1.ReplayEvent_Mocks:
		m := e.Mocks
		return "mocks", map[string]any{"requests": m.GetRequests(), "matched": m.GetMatched(), "missed": m.GetMissed(), "passthrough": m.GetPassthrough()}
	case *cloudv1.ReplayEvent_Log:
		return "log", map[string]any{"pod": e.Log.GetPod(), "container": e.Log.GetContainer(), "line": e.Log.GetLine()}
	case *cloudv1.ReplayEvent_ClusterEvent:
		c := e.ClusterEvent
		return "clusterEvent", map[string]any{"type": c.GetType(), "reason": c.GetReason(), "object": c.GetObject(), "message": c.GetMessage(), "count": c.GetCount()}
	case *cloudv1.ReplayEvent_Usage:
		u := e.Usage
		return "usage", map[string]any{"pod": u.GetPod(), "container": u.GetContainer(), "cpuMillicores": u.GetCpuMillicores(), "memoryBytes": u.GetMemoryBytes()}
	case *cloudv1.ReplayEvent_Failed:
		value = map[string]any{"method": e.Failed.GetMethod(), "path": e.Failed.GetPath()}
		if json.Valid(e.Failed.GetFailure()) {
			value["failure"] = json.RawMessage(e.Failed.GetFailure())
		}
		return "failed", value
	case *cloudv1.ReplayEvent_End:
		return "end", map[string]any{"status": e.End.GetStatus(), "error": e.End.GetError(), "report": e.End.GetReport(), "dropped": e.End.GetDropped()}
	}
	return "", nil
}

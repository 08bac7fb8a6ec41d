// Package note writes events that the API server takes, however long their texts are.
package note

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
)

// Most is the longest text of an event, in bytes (k8s.io/api/events/v1). The API server
// refuses longer ones, and client-go drops what it refuses.
const Most = 1024

// Recorder shortens the texts of events to what is taken.
type Recorder struct{ To events.EventRecorder }

var _ events.EventRecorder = Recorder{}

// Eventf is as in events.EventRecorder.
func (r Recorder) Eventf(regarding, related runtime.Object, kind, reason, action, format string, args ...any) {
	r.To.Eventf(regarding, related, kind, reason, action, "%s", cut(fmt.Sprintf(format, args...)))
}

// cut ends a text that is too long with a whole character.
func cut(text string) string {
	const more = "…"
	if len(text) <= Most {
		return text
	}
	return strings.ToValidUTF8(text[:Most-len(more)], "") + more
}

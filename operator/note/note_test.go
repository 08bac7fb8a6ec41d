package note_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"

	"github.com/speedscale/speedscale/operator/note"
)

func TestLongTextsAreCut(t *testing.T) {
	for name, text := range map[string]string{
		"short":         "100 % is fine",
		"just as long":  strings.Repeat("a", note.Most),
		"one more":      strings.Repeat("a", note.Most+1),
		"whole letters": strings.Repeat("é", note.Most),
	} {
		to := events.NewFakeRecorder(1)
		note.Recorder{To: to}.Eventf(&corev1.Pod{}, nil, "Normal", "Reason", "Action", "%s", text)
		got := strings.TrimPrefix(<-to.Events, "Normal Reason ")
		kept, cut := strings.CutSuffix(got, "…")
		if len(got) > note.Most || !utf8.ValidString(got) || cut != (len(text) > note.Most) || !strings.HasPrefix(text, kept) || len(kept) < min(len(text), note.Most-5) {
			t.Errorf("%s: %d bytes became %d, %q", name, len(text), len(got), got)
		}
	}
}

package report_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/speedscale/speedscale/traffic/report"
)

// TestOthersRequestsAreWarnedOf: in every form of the report.
func TestOthersRequestsAreWarnedOf(t *testing.T) {
	result := report.Result{Recorded: pair("GET", "/", 200, ""), Observed: pair("GET", "/", 200, ""), At: time.Now()}
	own := report.Received{Address: "10.0.0.7", Requests: 1}
	for name, c := range map[string]struct {
		from     []string
		received []report.Received
		want     string // "" for nothing
	}{
		"the generator's only":   {[]string{"10.0.0.7", "fd00::7"}, []report.Received{own, {Address: "fd00::7", Requests: 5}}, ""},
		"others":                 {[]string{"10.0.0.7"}, []report.Received{own, {Address: "10.0.0.8", Requests: 2}, {Address: "fd00::8", Requests: 10}}, "12 requests of others reached the workload during the replay, and may have changed what it answered (fd00::8: 10, 10.0.0.8: 2)"},
		"what cannot be read":    {[]string{"10.0.0.7"}, []report.Received{own, {Requests: 3, Connections: 4}}, "3 requests and 4 connections that reached the workload could not be read: whether others sent them is not known"},
		"sidecars say nothing":   {[]string{"10.0.0.7"}, nil, "whether others sent requests to the workload is not known"},
		"without sidecars":       {nil, nil, ""},
		"mocks only, no sending": {nil, []report.Received{{Address: "10.0.0.8", Requests: 2}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			generator, cloud := report.NewBuilder(nil, report.Options{}), report.NewBuilder(nil, report.Options{})
			generator.AddResult(result)
			generator.SendFrom(c.from)
			for _, r := range c.received {
				cloud.AddReceived(r)
			}
			r, err := report.Merge(nil, []report.Part{sent(t, "generator-0", generator.Part()), sent(t, "cloud", cloud.Part())}, report.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if text := strings.Join(r.Warnings, "\n"); c.want == "" && text != "" || !strings.HasPrefix(text, c.want) {
				t.Errorf("warnings:\n%s\nwant\n%s", text, c.want)
			}
			if r.Status != report.Passed {
				t.Errorf("others decide the verdict: %s", r.Status)
			}
			begin, _, _ := strings.Cut(c.want, ",")
			for form, write := range map[string]func(io.Writer) error{"JSON": r.WriteJSON, "Markdown": r.WriteMarkdown, "HTML": r.WriteHTML} {
				var out bytes.Buffer
				if err := write(&out); err != nil || !strings.Contains(out.String(), begin) {
					t.Errorf("%s: %v, does not have %q", form, err, begin)
				}
			}
		})
	}
}

package command

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/cluster/check"
	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/speedctl/term"
)

func someReport(failed bool) check.Report {
	r := check.Report{Success: !failed, Categories: []check.Category{
		{ID: "operator", Title: "Operator", Results: []check.Result{{ID: "operator-ready", Title: "the operator runs", Status: check.OK, Text: "1 of 1 pods are ready"}}},
		{ID: "workloads", Title: "Workloads", Results: []check.Result{
			{ID: "workload-autoscaler", Title: "no autoscaler counts the sidecar", Subject: "horizontalpodautoscaler shop/cart", Status: check.Warning,
				Text: "it scales by cpu", Hint: "use another", Doc: "https://docs#workload-autoscaler"},
			{ID: "workload-captured", Title: "every pod has one", Status: check.Skipped, Text: "forbidden"},
		}},
	}}
	if failed {
		r.Categories[0].Results[0] = check.Result{ID: "operator-ready", Title: "the operator runs", Status: check.Failed, Text: "no pod is ready", Hint: "look", Doc: "https://docs#operator-ready"}
	}
	return r
}

// TestReportIsPrinted on terminals and off them, with colours and signs where they are shown.
func TestReportIsPrinted(t *testing.T) {
	plain := `Operator
--------
ok   the operator runs: 1 of 1 pods are ready

Workloads
---------
warn no autoscaler counts the sidecar: horizontalpodautoscaler shop/cart
    it scales by cpu
    hint: use another
    see https://docs#workload-autoscaler
skip every pod has one: forbidden

warn 1 of 3 checks hold; 1 warn (workload-autoscaler), 1 could not be made
`
	signs := strings.NewReplacer("ok  ", "√", "warn no", "‼ no", "skip", "-", "warn 1 of", "‼ 1 of").Replace(plain)
	for name, c := range map[string]struct {
		env  map[string]string
		tty  bool
		want string
	}{
		"off a terminal":         {nil, false, plain},
		"no locale":              {nil, true, ""},
		"off it, UTF-8":          {map[string]string{"LANG": "en_US.UTF-8"}, false, signs},
		"no colour":              {map[string]string{"LANG": "en_US.UTF-8", "NO_COLOR": "1"}, true, signs},
		"LC_ALL wins":            {map[string]string{"LANG": "en_US.UTF-8", "LC_ALL": "C", "NO_COLOR": "1"}, true, plain},
		"a terminal without any": {map[string]string{"LANG": "C.utf8", "TERM": "dumb"}, true, signs},
	} {
		var out bytes.Buffer
		w := &term.World{Out: &out, Err: &out, OutTTY: c.tty, Getenv: func(name string) string { return c.env[name] }}
		if err := printReport(&global{World: w}, printer.NewFlag(printer.Table, printer.JSON), someReport(false)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.want == "" {
			if !strings.Contains(out.String(), "\x1b[") {
				t.Errorf("%s: no colours in\n%s", name, &out)
			}
			continue
		}
		if diff := cmp.Diff(c.want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestFailedChecksEndWithOne, and say so once.
func TestFailedChecksEndWithOne(t *testing.T) {
	for _, format := range []printer.Format{printer.Table, printer.JSON} {
		var out, errs bytes.Buffer
		w := &term.World{Out: &out, Err: &errs, Getenv: func(string) string { return "" }}
		flag := printer.NewFlag(printer.Table, printer.JSON)
		flag.Format = format
		err := printReport(&global{World: w}, flag, someReport(true))
		if code := w.Fail(err); code != term.ExitError {
			t.Errorf("%s: exit code %d", format, code)
		}
		if format == printer.Table && (errs.Len() > 0 || !strings.HasSuffix(out.String(), "FAIL 0 of 3 checks hold; 1 warn (workload-autoscaler), 1 failed (operator-ready), 1 could not be made\n")) {
			t.Errorf("table:\n%s%s", &out, &errs)
		}
		if format == printer.JSON && (!strings.Contains(errs.String(), "1 of 3 checks failed") || !strings.Contains(out.String(), `"doc": "https://docs#operator-ready"`)) {
			t.Errorf("JSON:\n%s%s", &out, &errs)
		}
	}
}

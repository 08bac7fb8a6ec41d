package check_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/cluster/check"
)

// TestEveryCheckIsDocumented: docs/troubleshooting.md has a section for each check, under
// its category and with its title, in the order of checks, and none for one that is gone.
// GitHub makes a heading's text its anchor.
func TestEveryCheckIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	heading := regexp.MustCompile("(?m)^### ([a-z-]+)\n\n(.*)\n\n(.)?")
	var got []string
	for _, m := range heading.FindAllStringSubmatch(string(text), -1) {
		got = append(got, m[1])
		if m[3] == "" || m[3] == "#" {
			t.Errorf("section %q says no more than the title", m[1])
		}
	}
	var want []string
	category := ""
	for _, e := range check.Entries() {
		want = append(want, e.ID)
		skeleton := "### " + e.ID + "\n\n*" + strings.ToUpper(e.Title[:1]) + e.Title[1:] + ".*\n"
		if e.Category != category {
			category = e.Category
			if !strings.Contains(string(text), "\n## "+category+"\n") {
				t.Errorf("the category %q is missing: add\n\n## %s", category, category)
			}
		}
		if !strings.Contains(string(text), skeleton) {
			t.Errorf("the check %q is not documented: add\n\n%s", e.ID, skeleton)
		}
	}
	if got, want := strings.Join(got, "\n"), strings.Join(want, "\n"); got != want {
		t.Errorf("sections are\n%s\n\nand checks\n%s", got, want)
	}
}

// TestIdsStay: scripts and bookmarks know them. Add to this list, and take nothing away.
func TestIdsStay(t *testing.T) {
	const ids = `api-reachable api-version api-clock install-rights install-leftovers install-storage replay-definition replay-definition-version
		operator-ready operator-version operator-single webhook-registered webhook-replay-registered webhook-policy webhook-endpoints
		webhook-ca-bundle webhook-certificate webhook-answers forwarder-ready forwarder-endpoints forwarder-version forwarder-telemetry
		forwarder-takes forwarder-spool forwarder-acknowledged forwarder-clock inspector-ready cloud-reachable cloud-key cloud-intake cloud-clock
		workload-captured workload-withdrawn workload-managed-by workload-autoscaler workload-network-policy
		sidecar-ready sidecar-version sidecar-trust sidecar-telemetry sidecar-capture sidecar-drops sidecar-quiet sidecar-clock metrics-api`
	there := map[string]bool{}
	for _, e := range check.Entries() {
		there[e.ID] = true
	}
	for _, id := range strings.Fields(ids) {
		if !there[id] {
			t.Errorf("there is no check %q any more", id)
		}
		delete(there, id)
	}
	for id := range there {
		t.Errorf("%q is not in the list", id)
	}
}

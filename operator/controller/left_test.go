package controller_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// TestAnnotationTakenAwayWhileNoOperatorWasThere: metadata does not show the stamp that is
// left, so all workloads are looked through when the operator starts, a page at a time.
func TestAnnotationTakenAwayWhileNoOperatorWasThere(t *testing.T) {
	item := func(name string, stamped bool) string {
		d := deployment(t, name)
		d.Annotations = nil
		if !stamped {
			delete(d.Spec.Template.Annotations, annotation.Stamp)
		}
		text, err := json.Marshal(d)
		must(t, err)
		return string(text)
	}
	pages := map[string]string{
		"":     `"continue":"more"},"items":[` + item("cart", true) + "," + item("plain", false) + `]}`,
		"more": `"resourceVersion":"1"},"items":[` + item("web", true) + `]}`,
	}
	const deployments = "/apis/apps/v1/namespaces/shop/deployments/"
	read := make(chan string, 100)
	failed := make(chan bool, 1)
	ended := startWorkloads(t, apiServer(t, func(w http.ResponseWriter, r *http.Request) bool {
		query := r.URL.Query()
		switch name, found := strings.CutPrefix(r.URL.Path, deployments); {
		case found:
			read <- name
			notFound(w)
		case r.URL.Path != "/apis/apps/v1/deployments" || strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadata") || query.Get("limit") == "":
			return false
		case len(failed) == 0: // an API server that is away for a moment
			failed <- true
			w.WriteHeader(http.StatusInternalServerError)
		default:
			io.WriteString(w, `{"kind":"DeploymentList","apiVersion":"apps/v1","metadata":{`+pages[query.Get("continue")])
		}
		return true
	}))
	var got []string
	for len(got) < 2 {
		select {
		case name := <-read:
			got = append(got, name)
		case err := <-ended:
			t.Fatalf("the manager ended: %v", err)
		case <-time.After(20 * time.Second):
			t.Fatalf("only %q are looked after", got)
		}
	}
	if slices.Sort(got); !slices.Equal(got, []string{"cart", "web"}) {
		t.Errorf("%q are looked after", got)
	}
}

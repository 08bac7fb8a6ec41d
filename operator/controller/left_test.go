package controller_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// TestAnnotationTakenAwayWhileNoOperatorWasThere: metadata does not show the stamp that is
// left, so all workloads are looked through when the operator starts, a page at a time.
func TestAnnotationTakenAwayWhileNoOperatorWasThere(t *testing.T) {
	item := func(name string, stamped bool, replay ...string) string {
		d := deployment(t, name)
		d.Annotations = nil
		if !stamped {
			delete(d.Spec.Template.Annotations, annotation.Stamp)
		}
		for _, r := range replay {
			d.Spec.Template.Annotations[annotation.Replay] = r
		}
		text, err := json.Marshal(d)
		must(t, err)
		return string(text)
	}
	pages := map[string]string{
		"":     `"continue":"more"},"items":[` + item("cart", true) + "," + item("plain", false) + `]}`,
		"more": `"resourceVersion":"1"},"items":[` + item("web", true) + "," + item("undone", false, "{}") + `]}`,
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
	for len(got) < 3 {
		select {
		case name := <-read:
			got = append(got, name)
		case err := <-ended:
			t.Fatalf("the manager ended: %v", err)
		case <-time.After(20 * time.Second):
			t.Fatalf("only %q are looked after", got)
		}
	}
	if slices.Sort(got); !slices.Equal(got, []string{"cart", "undone", "web"}) {
		t.Errorf("%q are looked after", got)
	}
}

// TestRollbackToAReplayThatHasEnded, which was stored while the webhook was away: no pod of
// the workload can be made while the operator is.
func TestRollbackToAReplayThatHasEnded(t *testing.T) {
	replayed := func(name, replay string) *appsv1.Deployment {
		d := deployment(t, name)
		d.Spec.Template.Annotations[annotation.Replay] = stamp.Replay{ID: "1", Name: replay, Target: "0", Kind: "Deployment", Workload: name}.String()
		return d
	}
	plain := replayed("plain", "shop/ended")
	plain.Annotations = nil
	delete(plain.Spec.Template.Annotations, annotation.Stamp)
	v := newWorld(t, replayed("cart", "shop/ended"), plain, replayed("busy", "shop/runs"))
	for name, kept := range map[string]bool{"cart": false, "plain": false, "busy": true} {
		v.pass("Deployment", name)
		d := read(v, &appsv1.Deployment{}, name)
		if _, has := d.Spec.Template.Annotations[annotation.Replay]; has != kept || d.Spec.Template.Annotations["team"] != "a" {
			t.Errorf("the template of %s has %v", name, d.Spec.Template.Annotations)
		}
	}
}

package collector_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/speedscale/speedscale/agents/collector"
)

// breaking is an API server that has the pod web, whose log breaks off within a line when it
// is read for the first time.
type breaking struct{ asked atomic.Int32 }

func (b *breaking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	log := lines("hello", "it works", "end")
	w.Header().Set("Content-Type", "application/json")
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/log") && b.asked.Add(1) == 1:
		io.WriteString(w, log[:strings.Index(log, "rks")])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case strings.HasSuffix(path, "/log"):
		io.WriteString(w, log)
	case r.URL.Query().Get("sendInitialEvents") != "": // as an API server that lists only
		w.WriteHeader(http.StatusBadRequest)
	case r.URL.Query().Get("watch") != "":
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case strings.HasSuffix(path, "/pods"):
		json.NewEncoder(w).Encode(&corev1.PodList{Items: []corev1.Pod{*webPod(container("web", "a"))}})
	default:
		io.WriteString(w, `{"items":[]}`)
	}
}

func TestLineThatBreaksOffIsPublishedWhole(t *testing.T) {
	server := httptest.NewServer(&breaking{})
	t.Cleanup(server.Close)
	kube, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld()
	w.run(t, func(o *collector.Options) { o.Kube = kube })
	w.await(t, "web: end")
	if got := strings.Join(w.texts(), "\n"); strings.Count(got, "hello") != 1 || strings.Count(got, "it wo") != 1 || !strings.Contains(got, "it works") {
		t.Errorf("published:\n%s", got)
	}
}

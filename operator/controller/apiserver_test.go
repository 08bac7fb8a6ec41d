package controller_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/speedscale/speedscale/operator/controller"
	"github.com/speedscale/speedscale/operator/note"
)

// apiServer knows the kinds of workloads, but no Rollouts, and has none of them. What own
// says that it has answered it leaves to it.
func apiServer(t *testing.T, own func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	kinds := map[string]string{
		"/apis/apps/v1":  `{"name":"deployments","kind":"Deployment","namespaced":true},{"name":"statefulsets","kind":"StatefulSet","namespaced":true},{"name":"daemonsets","kind":"DaemonSet","namespaced":true}`,
		"/apis/batch/v1": `{"name":"cronjobs","kind":"CronJob","namespaced":true},{"name":"jobs","kind":"Job","namespaced":true}`,
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch path := r.URL.Path; {
		case own(w, r):
		case path == "/api":
			io.WriteString(w, `{"kind":"APIVersions","versions":["v1"]}`)
		case path == "/apis":
			io.WriteString(w, `{"kind":"APIGroupList","groups":[{"name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}]},{"name":"batch","versions":[{"groupVersion":"batch/v1","version":"v1"}]}]}`)
		case kinds[path] != "":
			io.WriteString(w, `{"kind":"APIResourceList","groupVersion":"`+strings.TrimPrefix(path, "/apis/")+`","resources":[`+kinds[path]+`]}`)
		case r.URL.Query().Get("sendInitialEvents") != "": // the client lists, then
			w.WriteHeader(http.StatusUnprocessableEntity)
			io.WriteString(w, `{"kind":"Status","status":"Failure","reason":"Invalid","code":422}`)
		case r.URL.Query().Get("watch") != "":
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case strings.HasPrefix(path, "/apis/argoproj.io"):
			notFound(w)
		default:
			io.WriteString(w, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"1"},"items":[]}`)
		}
	}))
	t.Cleanup(api.Close)
	return api.URL
}

func notFound(w http.ResponseWriter) {
	w.WriteHeader(http.StatusNotFound)
	io.WriteString(w, `{"kind":"Status","status":"Failure","reason":"NotFound","code":404}`)
}

func isList(r *http.Request) bool { return r.URL.Query().Get("watch") == "" }

// startWorkloads runs the controllers against an API server until the test ends; what it
// returns has the manager's error where that ends before.
func startWorkloads(t *testing.T, url string) <-chan error {
	t.Helper()
	cfg := &rest.Config{Host: url}
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Metrics: server.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: new(true)},
	})
	must(t, err)
	direct, err := client.New(cfg, client.Options{})
	must(t, err)
	w := &controller.Workloads{Client: direct, Events: note.Recorder{To: events.NewFakeRecorder(100)}, Now: time.Now, Logger: slog.New(slog.DiscardHandler), LookAgain: 10 * time.Millisecond}
	must(t, w.Setup(mgr))
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(t.Context()) }()
	return ended
}

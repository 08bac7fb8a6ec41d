package command_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/speedscale/speedscale/speedctl/command"
	"github.com/speedscale/speedscale/speedctl/term"
)

// TestCompletionsAreGenerated: what is in completions/ is what the commands give.
func TestCompletionsAreGenerated(t *testing.T) {
	for shell, file := range map[string]string{"bash": "speedctl.bash", "zsh": "speedctl.zsh", "fish": "speedctl.fish", "powershell": "speedctl.ps1"} {
		var made bytes.Buffer
		w := &term.World{In: strings.NewReader(""), Out: &made, Err: io.Discard, Getenv: func(string) string { return "" }}
		if code := command.Execute(t.Context(), w, []string{"completion", shell}); code != 0 {
			t.Fatalf("%s: exit code %d", shell, code)
		}
		kept, err := os.ReadFile(filepath.Join("..", "..", "completions", file))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(kept, made.Bytes()) {
			t.Errorf("completions/%s is not what speedctl completion %s prints: run make generate", file, shell)
		}
	}
}

// TestEverythingIsCompleted: each command says how its arguments are completed, and each
// flag with a value how that is.
func TestEverythingIsCompleted(t *testing.T) {
	root := command.New(&term.World{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard, Getenv: func(string) string { return "" }})
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Name() == "help" || c.Hidden {
			return
		}
		if len(c.Commands()) == 0 && c.ValidArgsFunction == nil {
			t.Errorf("%s takes arguments: say in arguments() of completion.go what they are", c.CommandPath())
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			_, said := c.GetFlagCompletionFunc(f.Name)
			file := regexp.MustCompile(`file|folder|directory|XML|Markdown|PEM`).MatchString(f.Usage)
			if !said && !file && f.NoOptDefVal == "" && f.Name != "help" {
				t.Errorf("%s --%s is completed by files", c.CommandPath(), f.Name)
			}
		})
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(root)
}

func complete(t *testing.T, env map[string]string, args ...string) (lines []string) {
	t.Helper()
	var out bytes.Buffer
	w := &term.World{In: strings.NewReader(""), Out: &out, Err: io.Discard, Getenv: func(name string) string { return env[name] }}
	if code := command.Execute(t.Context(), w, slices.Concat([]string{"__complete"}, args)); code != 0 {
		t.Errorf("%v: exit code %d", args, code)
	}
	lines = strings.Split(strings.TrimSpace(out.String()), "\n")
	return lines[:len(lines)-1] // the last is cobra's directive
}

// TestCompletionAsksTheCluster: workloads, pods, namespaces and replays are those of the
// cluster and namespace that the command line names.
func TestCompletionAsksTheCluster(t *testing.T) {
	meta := `"metadata": {"name": "%s", "namespace": "shop"}`
	lists := map[string]string{
		"/api/v1/namespaces":                                     `{"kind": "NamespaceList", "apiVersion": "v1", "items": [{"metadata": {"name": "shop"}}, {"metadata": {"name": "kube-system"}}]}`,
		"/apis/apps/v1/namespaces/shop/deployments":              `{"kind": "DeploymentList", "apiVersion": "apps/v1", "items": [{` + fmt.Sprintf(meta, "checkout") + `}]}`,
		"/apis/apps/v1/namespaces/shop/statefulsets":             `{"kind": "StatefulSetList", "apiVersion": "apps/v1", "items": [{` + fmt.Sprintf(meta, "cart") + `}]}`,
		"/apis/apps/v1/namespaces/shop/daemonsets":               `{"kind": "DaemonSetList", "apiVersion": "apps/v1", "items": []}`,
		"/apis/batch/v1/namespaces/shop/jobs":                    `{"kind": "JobList", "apiVersion": "batch/v1", "items": []}`,
		"/apis/batch/v1/namespaces/shop/cronjobs":                `{"kind": "CronJobList", "apiVersion": "batch/v1", "items": []}`,
		"/api/v1/namespaces/shop/pods":                           `{"kind": "PodList", "apiVersion": "v1", "items": [{` + fmt.Sprintf(meta, "checkout-5d8c7-x2x7k") + `}]}`,
		"/apis/speedscale.com/v1/namespaces/shop/trafficreplays": `{"kind": "TrafficReplayList", "apiVersion": "speedscale.com/v1", "items": [` + trafficReplay + `]}`,
	}
	a := newAPIServer(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if text, ok := lists[r.URL.Path]; ok {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, text)
			return
		}
		a.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	a.URL = s.URL
	cluster := []string{"--kubeconfig", a.kubeconfig(t)}
	for args, want := range map[string]string{
		"inject -n shop|":                     "deployment/checkout statefulset/cart",
		"inject deployment/checkout -n shop|": "statefulset/cart",
		"why -n shop|che":                     "checkout-5d8c7-x2x7k",
		"replay --snapshot x -n shop|dep":     "deployment/checkout",
		"get replays -n shop|":                "checkout-x7k2p",
		"get workloads --namespace|":          "kube-system shop",
		"get workloads --kube-context|":       "c",
		"get workloads --user|":               "u",
	} {
		before, typed, _ := strings.Cut(args, "|")
		got := []string{}
		for _, line := range complete(t, map[string]string{"SPEEDSCALE_HOME": t.TempDir()}, slices.Concat(cluster, strings.Fields(before), []string{typed})...) {
			value, _, _ := strings.Cut(line, "\t")
			got = append(got, value)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %s", args, got, want)
		}
	}
}

// TestCompletionDoesNotWait for a cluster that is reached and does not answer.
func TestCompletionDoesNotWait(t *testing.T) {
	release := make(chan struct{})
	a := newAPIServer(t)
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(release) })
	a.URL = s.URL
	started := time.Now()
	got := complete(t, map[string]string{"SPEEDSCALE_HOME": t.TempDir()}, "--kubeconfig", a.kubeconfig(t), "inject", "")
	if took := time.Since(started); took > 10*time.Second || len(got) > 0 { // some 2 s where nothing else runs
		t.Errorf("%q after %s", got, took)
	}
}

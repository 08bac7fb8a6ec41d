package helm_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/speedscale/speedscale/cluster/helm"
)

func TestTemplate(t *testing.T) {
	values := map[string]any{}
	for _, set := range []string{"logLevel=debug", "tolerations[0].key=a,tolerations[0].operator=Exists"} {
		if err := helm.Set(set, values); err != nil {
			t.Fatal(err)
		}
	}
	r := helm.Release{Name: "speedscale-cloud", Namespace: "there", Chart: os.DirFS("../../charts/speedscale-cloud"), Values: values}
	got, err := helm.Template(t.Context(), r, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kind: StatefulSet", "namespace: there", "-log-level=debug", "operator: Exists"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if _, err := helm.Template(t.Context(), r, "1.29.0"); err == nil || !strings.Contains(err.Error(), "1.29") {
		t.Errorf("a cluster that is too old: %v", err)
	}
	r.Values = map[string]any{"logLevel": "loud"}
	if _, err := helm.Template(t.Context(), r, ""); err == nil || !strings.Contains(err.Error(), "logLevel") {
		t.Errorf("a value that the schema refuses: %v", err)
	}
	if err := helm.Set("a[", values); err == nil || !strings.Contains(err.Error(), `--set "a["`) {
		t.Errorf("a value that cannot be read: %v", err)
	}
	if _, err := helm.Template(t.Context(), helm.Release{Chart: os.DirFS(t.TempDir())}, ""); err == nil {
		t.Error("an empty folder is a chart")
	}
}

func TestSetFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte("a,b=c\nd"), 0o600); err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := helm.SetFile("appCA="+file, values); err != nil || values["appCA"] != "a,b=c\nd" {
		t.Errorf("%v, %v", values, err)
	}
	for _, text := range []string{"appCA", "appCA=" + file + ".none"} {
		if err := helm.SetFile(text, values); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestUninstallTellsMissingFromUnreadable: only a release that is not there is none.
func TestUninstallTellsMissingFromUnreadable(t *testing.T) {
	denied := false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/version":
			fmt.Fprint(w, `{"gitVersion": "v1.37.2"}`)
		case denied:
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "you may not list secrets"}`)
		default:
			fmt.Fprint(w, `{"kind": "SecretList", "apiVersion": "v1", "items": []}`)
		}
	}))
	t.Cleanup(s.Close)
	getter := genericclioptions.NewConfigFlags(false)
	getter.APIServer = &s.URL
	c := &helm.Client{Getter: getter, Log: slog.New(slog.DiscardHandler)}
	if found, err := c.Uninstall("speedscale-operator", "there", time.Second); found || err != nil {
		t.Errorf("no release: %v, %v", found, err)
	}
	denied = true
	if _, err := c.Uninstall("speedscale-operator", "there", time.Second); err == nil || !strings.Contains(err.Error(), "you may not list secrets") {
		t.Errorf("a release that may not be read: %v", err)
	}
}

// TestImagesHaveTheVersionOfTheRelease: that of the folder is for those who install it as it is.
func TestImagesHaveTheVersionOfTheRelease(t *testing.T) {
	text, err := os.ReadFile("../../charts/speedscale-cloud/Chart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, own, _ := strings.Cut(string(text), "appVersion: ")
	own, _, _ = strings.Cut(own, "\n")
	for _, tt := range []struct {
		version string
		values  map[string]any
		want    string
	}{
		{"", nil, "/cloud:" + own},
		{"0.0.0-dev.7.g0123abc", nil, "/cloud:0.0.0-dev.7.g0123abc"},
		{"0.0.0-dev.7.g0123abc", map[string]any{"image": map[string]any{"tag": "mine"}}, "/cloud:mine"},
	} {
		r := helm.Release{Name: "speedscale-cloud", Namespace: "there", Chart: os.DirFS("../../charts/speedscale-cloud"), Version: tt.version, Values: tt.values}
		for range 2 {
			if got, err := helm.Template(t.Context(), r, ""); err != nil || !strings.Contains(got, tt.want+`"`) {
				t.Errorf("version %q with %v: %v, want %s in\n%s", tt.version, tt.values, err, tt.want, got)
			}
		}
	}
}

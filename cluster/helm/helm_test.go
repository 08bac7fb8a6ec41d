package helm_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
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

// revision is a Secret in which Helm keeps one, with a value size.
func revision(t *testing.T, number int, status, size string) corev1.Secret {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"name": "speedscale-cloud", "namespace": "there", "version": number,
		"info": map[string]any{"status": status}, "config": map[string]any{"size": size},
	})
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write(text) // into memory
	w.Close()
	name := fmt.Sprintf("sh.helm.release.v1.speedscale-cloud.v%d", number)
	return corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "there", Labels: map[string]string{"name": "speedscale-cloud", "owner": "helm", "status": status, "version": fmt.Sprint(number)}},
		Data:       map[string][]byte{"release": []byte(base64.StdEncoding.EncodeToString(packed.Bytes()))},
	}
}

// TestAFailedRevisionPoisonsNoOther: its values are not those that the next one starts with,
// unless none was ever better.
func TestAFailedRevisionPoisonsNoOther(t *testing.T) {
	var there []corev1.Secret
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		list := corev1.SecretList{TypeMeta: metav1.TypeMeta{Kind: "SecretList", APIVersion: "v1"}}
		selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
		if err != nil {
			t.Error(err)
			return
		}
		for _, secret := range there {
			if selector.Matches(labels.Set(secret.Labels)) {
				list.Items = append(list.Items, secret)
			}
		}
		if err := json.NewEncoder(w).Encode(list); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	getter := genericclioptions.NewConfigFlags(false)
	getter.APIServer = &s.URL
	c := &helm.Client{Getter: getter, Log: slog.New(slog.DiscardHandler)}
	for want, list := range map[string][]corev1.Secret{
		"":      nil,
		"20Gi":  {revision(t, 1, "superseded", "1Gi"), revision(t, 2, "deployed", "20Gi"), revision(t, 3, "failed", "100Gi"), revision(t, 4, "pending-upgrade", "200Gi")},
		"300Gi": {revision(t, 1, "failed", "2Gi"), revision(t, 2, "failed", "300Gi")},
	} {
		there = list
		values, found, err := c.Values("speedscale-cloud", "there")
		if got, _ := values["size"].(string); err != nil || got != want || found != (want != "") {
			t.Errorf("it has %v, %v (%v), want %q", values, found, err, want)
		}
	}
}

package install

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
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/speedscale/speedscale/cluster/helm"
)

// installed is Helm's view of a cluster that has the operator, with values, and no cloud.
func installed(t *testing.T, values string) *helm.Client {
	t.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	fmt.Fprintf(w, `{"name": %q, "namespace": "a", "version": 1, "info": {"status": "deployed"}, "chart": {"metadata": {"name": %[1]q}}, "config": %s}`, Operator, values)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	release := corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "sh.helm.release.v1." + Operator + ".v1", Labels: map[string]string{"owner": "helm", "name": Operator, "version": "1", "status": "deployed"}},
		Data:       map[string][]byte{"release": []byte(base64.StdEncoding.EncodeToString(packed.Bytes()))},
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		list := corev1.SecretList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "SecretList"}}
		if strings.Contains(r.URL.Query().Get("labelSelector"), "name="+Operator) {
			list.Items = append(list.Items, release)
		}
		if err := json.NewEncoder(w).Encode(list); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	getter := genericclioptions.NewConfigFlags(false)
	getter.APIServer = &s.URL
	return &helm.Client{Getter: getter, Log: slog.New(slog.DiscardHandler)}
}

// TestUpgradeKeepsTheValuesThatWereGiven, those that speedctl sets by itself too: only
// what is given now replaces them.
func TestUpgradeKeepsTheValuesThatWereGiven(t *testing.T) {
	for want, given := range map[string]map[string]any{"mine": nil, "newer": {"apiKeySecret": "newer"}} {
		o := Options{Namespace: "a", CloudNamespace: "b", Charts: os.DirFS("../../charts"), OperatorValues: given}
		parts, err := o.parts()
		if err != nil {
			t.Fatal(err)
		}
		there, err := merged(installed(t, `{"apiKeySecret": "mine", "logLevel": "debug"}`), parts)
		if err != nil || len(there) != 1 {
			t.Fatalf("%v, %v", there, err)
		}
		if diff := cmp.Diff(map[string]any{"apiKeySecret": want, "logLevel": "debug"}, there[0].Values); diff != "" {
			t.Errorf("given %v (-want +got):\n%s", given, diff)
		}
	}
}
func TestMerge(t *testing.T) {
	under := map[string]any{"a": 1, "image": map[string]any{"tag": "v1", "registry": "r"}, "list": []any{1, 2}}
	over := map[string]any{"image": map[string]any{"tag": "v2"}, "list": []any{3}, "b": 2}
	want := map[string]any{"a": 1, "b": 2, "image": map[string]any{"tag": "v2", "registry": "r"}, "list": []any{3}}
	if diff := cmp.Diff(want, merge(under, over)); diff != "" {
		t.Error(diff)
	}
	if under["image"].(map[string]any)["tag"] != "v1" {
		t.Error("what is below was changed")
	}
	if diff := cmp.Diff(over, merge(nil, over)); diff != "" {
		t.Error(diff)
	}
}

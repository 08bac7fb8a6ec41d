package webhook_test

import (
	"encoding/json"
	"log/slog"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
	"sigs.k8s.io/yaml"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func raw(t *testing.T, manifest string) []byte {
	t.Helper()
	text, err := yaml.YAMLToJSONStrict([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// create is the request of an object in namespace shop; update has the old one too.
func create(t *testing.T, manifest string) admission.Request {
	t.Helper()
	text := raw(t, manifest)
	var meta metav1.PartialObjectMetadata
	if err := json.Unmarshal(text, &meta); err != nil {
		t.Fatal(err)
	}
	r := admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		UID: "1", Operation: admissionv1.Create, Namespace: "shop", Name: meta.Name,
		Kind: metav1.GroupVersionKind{Kind: meta.Kind},
	}}
	r.Object.Raw = text
	return r
}

func update(t *testing.T, old, manifest string) admission.Request {
	t.Helper()
	r := create(t, manifest)
	r.Operation = admissionv1.Update
	r.OldObject.Raw = raw(t, old)
	return r
}

// apply returns the request's object after the response, as the API server makes it.
func apply(t *testing.T, req admission.Request, resp admission.Response) []byte {
	t.Helper()
	if !resp.Allowed {
		t.Fatalf("denied: %s", resp.Result.Message)
	}
	if err := resp.Complete(req); err != nil {
		t.Fatal(err)
	}
	if len(resp.Patch) == 0 {
		return req.Object.Raw
	}
	patch, err := jsonpatch.DecodePatch(resp.Patch)
	if err != nil {
		t.Fatal(err)
	}
	out, err := patch.Apply(req.Object.Raw)
	if err != nil {
		t.Fatalf("%s: %v", resp.Patch, err)
	}
	return out
}

// tree decodes JSON or YAML to compare it.
func tree(t *testing.T, text []byte) (out map[string]any) {
	t.Helper()
	if err := yaml.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func equal(t *testing.T, want, got []byte) {
	t.Helper()
	if diff := cmp.Diff(tree(t, want), tree(t, got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

type webhookRequest = admission.Request

func inNamespace(r admission.Request, namespace string) admission.Request {
	r.Namespace = namespace
	return r
}

func withObject(r admission.Request, text string) admission.Request {
	r.Object.Raw = []byte(text)
	return r
}

package helm_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/cluster/helm"
)

func TestMerge(t *testing.T) {
	under := map[string]any{"a": 1, "image": map[string]any{"tag": "v1", "registry": "r"}, "list": []any{1, 2}}
	over := map[string]any{"image": map[string]any{"tag": "v2"}, "list": []any{3}, "b": 2}
	want := map[string]any{"a": 1, "b": 2, "image": map[string]any{"tag": "v2", "registry": "r"}, "list": []any{3}}
	if diff := cmp.Diff(want, helm.Merge(under, over)); diff != "" {
		t.Error(diff)
	}
	if under["image"].(map[string]any)["tag"] != "v1" {
		t.Error("what is below was changed")
	}
	if diff := cmp.Diff(over, helm.Merge(nil, over)); diff != "" {
		t.Error(diff)
	}
}

package explain_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/speedctl/explain"
)

// TestEveryFieldIsFound by its path, and is explained; what the schema takes of others, such as
// metadata, may go without a text.
func TestEveryFieldIsFound(t *testing.T) {
	topics, err := explain.Topics()
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	var visit func(f explain.Field, path string)
	visit = func(f explain.Field, path string) {
		count++
		found, err := explain.Find(path)
		if err != nil || found.Name != f.Name || found.About != f.About {
			t.Errorf("%s: %+v, %v", path, found, err)
		}
		if f.Type == "" || f.About == "" && f.Name != "metadata" && !strings.Contains(path, ".config.") && !strings.Contains(path, "Refs.") {
			t.Errorf("%s is not explained: %+v", path, f)
		}
		for _, sub := range f.Fields {
			visit(sub, path+"."+sub.Name)
		}
	}
	for _, f := range topics {
		visit(f, f.Name)
	}
	if count < 100 {
		t.Errorf("%d fields", count)
	}
}

func TestFind(t *testing.T) {
	for path, name := range map[string]string{
		"tls-out": "sidecar.speedscale.com/tls-out", "annotation.operator.speedscale.com/ignore": "operator.speedscale.com/ignore",
		"TrafficReplay.Spec.Mode": "mode", "replays": "trafficreplay", "test-configs.rules": "rules",
	} {
		if f, err := explain.Find(path); err != nil || f.Name != name {
			t.Errorf("%s: %q, %v", path, f.Name, err)
		}
	}
	_, err := explain.Find("trafficreplay.spec.nothing.more")
	missing, ok := errors.AsType[*explain.NotFoundError](err)
	if !ok || missing.Step != "nothing" || !slices.Contains(missing.There, "snapshotID") {
		t.Errorf("%v", err)
	}
}

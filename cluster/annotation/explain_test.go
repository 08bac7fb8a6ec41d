package annotation_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/cluster/annotation"
)

func TestExplanations(t *testing.T) {
	all := annotation.Explanations()
	for _, e := range all {
		if e.About == "" || e.Wants == "" || len(e.Modes) == 0 || strings.ContainsRune(e.Wants, 0) {
			t.Errorf("%+v", e)
		}
		if e.Default == "" {
			continue
		}
		if _, err := annotation.Parse(map[string]string{e.Key: e.Default}); err != nil && slices.Contains(e.Modes, "transparent") {
			t.Errorf("the default of %s is refused: %v", e.Key, err)
		}
	}
	for key, want := range map[string]annotation.Explanation{
		annotation.HostResolution: {Wants: "one of smart, standard, none", Default: "smart", Modes: []string{"transparent"}},
		annotation.Inject:         {Wants: `"true" or "false"`, Default: "false", Modes: []string{"transparent", "reverse", "forward", "dual"}},
		annotation.ProxyPort:      {Default: "80", Modes: []string{"reverse", "dual"}},
		annotation.ManagedBy:      {Wants: "a text", Modes: []string{"transparent", "reverse", "forward", "dual"}},
	} {
		i := slices.IndexFunc(all, func(e annotation.Explanation) bool { return e.Key == key })
		if i < 0 {
			t.Errorf("%s is not explained", key)
			continue
		}
		got := all[i]
		if want.Wants == "" {
			want.Wants = got.Wants
		}
		want.Key, want.About = got.Key, got.About
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
}

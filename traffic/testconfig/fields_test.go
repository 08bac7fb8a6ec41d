package testconfig_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/traffic/testconfig"
)

// TestFieldsAreThoseThatParseTakes: each field is known to Parse where Fields has it, and
// each has a text.
func TestFieldsAreThoseThatParseTakes(t *testing.T) {
	count := 0
	var visit func(fields []testconfig.Field, wrap func(any) any)
	visit = func(fields []testconfig.Field, wrap func(any) any) {
		for _, f := range fields {
			count++
			if f.About == "" || f.Type == "" {
				t.Errorf("%+v", f)
			}
			list := strings.HasPrefix(f.Type, "[]")
			// A member that is not there is what Parse says is not known; the rest
			// of its answer does not matter here.
			inside := func(v any) any {
				if list {
					v = []any{v}
				}
				return wrap(map[string]any{f.Name: v})
			}
			if f.Fields == nil {
				doc, err := json.Marshal(inside("x"))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := testconfig.Parse(doc); err != nil && strings.Contains(err.Error(), f.Name+": is not known here") {
					t.Errorf("%s: %v", doc, err)
				}
			}
			visit(f.Fields, inside)
		}
	}
	visit(testconfig.Fields(), func(v any) any { return v })
	if count < 40 {
		t.Errorf("%d fields", count)
	}
	i := slices.IndexFunc(testconfig.Fields(), func(f testconfig.Field) bool { return f.Name == "rules" })
	rule := testconfig.Fields()[i].Fields
	if rule[1].Name != "type" || !slices.Equal(rule[1].Values, []string{"TOO_LOW", "TOO_HIGH"}) || !rule[1].Required {
		t.Errorf("%+v", rule[1])
	}
}

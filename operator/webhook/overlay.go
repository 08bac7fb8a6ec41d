package webhook

import "reflect"

// overlay brings into raw, a document as the API server sent it, what differs
// between two readings of it, before and after a change. Fields that our version
// of the types does not know are in neither reading, and stay.
//
// All three are what encoding/json decodes. Elements of lists are the same by
// their name where they have one, and by their value otherwise.
func overlay(raw, before, after any) any {
	if reflect.DeepEqual(before, after) {
		return raw
	}
	switch after := after.(type) {
	case map[string]any:
		raw, ok := raw.(map[string]any)
		before, ok2 := before.(map[string]any)
		if ok && ok2 {
			return overlayMap(raw, before, after)
		}
	case []any:
		raw, ok := raw.([]any)
		before, ok2 := before.([]any)
		if ok && ok2 && len(raw) == len(before) {
			return overlayList(raw, before, after)
		}
	}
	return after
}

func overlayMap(raw, before, after map[string]any) map[string]any {
	out := map[string]any{}
	for key, value := range raw {
		if _, known := before[key]; !known {
			out[key] = value
		}
	}
	for key, value := range after {
		sent, present := raw[key]
		switch old, there := before[key]; {
		case !there || !present && !reflect.DeepEqual(old, value):
			out[key] = value
		case present:
			out[key] = overlay(sent, old, value)
		}
	}
	return out
}

func overlayList(raw, before, after []any) []any {
	out := make([]any, len(after))
	taken := make([]bool, len(before))
	for i, element := range after {
		out[i] = element
		for j, old := range before {
			if !taken[j] && same(old, element) {
				taken[j] = true
				out[i] = overlay(raw[j], old, element)
				break
			}
		}
	}
	return out
}

func same(a, b any) bool {
	x, ok := a.(map[string]any)
	y, ok2 := b.(map[string]any)
	if ok && ok2 && x["name"] != nil {
		return x["name"] == y["name"]
	}
	return reflect.DeepEqual(a, b)
}

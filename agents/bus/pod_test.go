package bus_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/agents/bus"
)

func token(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func TestPodOfToken(t *testing.T) {
	got, ok := bus.PodOfToken(token(`{"kubernetes.io":{"namespace":"shop","pod":{"name":"cart.0"}}}`))
	if want := (bus.Pod{Namespace: "shop", Name: "cart.0"}); !ok || got != want {
		t.Errorf("got %v, %v; want %v", got, ok, want)
	}
	for _, other := range []string{
		"", "a-shared-token", "a.b.c", token(`{}`), token(`{"kubernetes.io":{"namespace":"shop"}}`), token(`[]`),
		token(`{"kubernetes.io":{"namespace":"a.b","pod":{"name":"x"}}}`), token(`{"kubernetes.io":{"namespace":"a","pod":{"name":"x>"}}}`),
	} {
		if pod, ok := bus.PodOfToken(other); ok {
			t.Errorf("%q is of %v", other, pod)
		}
	}
}

// FuzzPodOfToken: whatever a token says, a pod's subject has two tokens of its own
// and no wildcard.
func FuzzPodOfToken(f *testing.F) {
	f.Add(`{"kubernetes.io":{"namespace":"shop","pod":{"name":"cart.0"}}}`)
	f.Fuzz(func(t *testing.T, claims string) {
		pod, ok := bus.PodOfToken(token(claims))
		if !ok {
			return
		}
		rest, ok := strings.CutPrefix(pod.Subject(), bus.RawPairs)
		if !ok || strings.Count(rest, ".") != 2 || strings.ContainsAny(rest, "*> \t\r\n") || strings.Contains(rest, "..") || rest[0] == '.' {
			t.Errorf("%q publishes below %q", claims, pod.Subject())
		}
	})
}

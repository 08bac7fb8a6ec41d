package inject_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/inject"
)

// TestOverriddenVariables: env counts before envFrom, so that a variable of ours is one of
// the app's less where it has it from there.
func TestOverriddenVariables(t *testing.T) {
	from := func(prefix string) []corev1.EnvFromSource { return []corev1.EnvFromSource{{Prefix: prefix}} }
	for name, c := range map[string]struct {
		annotations map[string]string
		container   corev1.Container
		want        string // "" is nothing
	}{
		"proxies":             {map[string]string{annotation.ProxyType: "forward"}, corev1.Container{EnvFrom: from("")}, "HTTP_PROXY, http_proxy, HTTPS_PROXY, https_proxy, NO_PROXY, no_proxy, NODE_USE_ENV_PROXY"},
		"roots":               {map[string]string{annotation.TLSOut: "true"}, corev1.Container{EnvFrom: from("")}, "SSL_CERT_DIR"},
		"java's options":      {map[string]string{annotation.TLSOut: "true", annotation.TLSJavaToolOptions: "true"}, corev1.Container{EnvFrom: from("JAVA_")}, "in env): JAVA_TOOL_OPTIONS"},
		"with another prefix": {map[string]string{annotation.ProxyType: "forward"}, corev1.Container{EnvFrom: from("APP_")}, ""},
		"nothing elsewhere":   {map[string]string{annotation.ProxyType: "forward"}, corev1.Container{}, ""},
		"nothing is set":      {map[string]string{}, corev1.Container{EnvFrom: from("")}, ""},
		"kept in env":         {map[string]string{annotation.ProxyType: "forward"}, corev1.Container{EnvFrom: from("HTTP_PROXY"), Env: []corev1.EnvVar{{Name: "HTTP_PROXY", Value: "x"}}}, ""},
	} {
		c.container.Name = "app"
		s, err := annotation.Parse(c.annotations)
		if err != nil {
			t.Fatal(err)
		}
		pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{c.container}}}
		got := strings.Join(inject.Overridden(pod, s), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) || got != "" && !strings.Contains(got, `container "app" has envFrom`) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if len(pod.Spec.Containers[0].Env) != len(c.container.Env) {
			t.Errorf("%s: the pod itself was changed", name)
		}
	}
}

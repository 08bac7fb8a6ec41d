package install

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func secret(t *testing.T, c *fake.Clientset, namespace, name string) *corev1.Secret {
	t.Helper()
	s, err := c.CoreV1().Secrets(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestKeysAreMadeOnce: a second installation keeps the keys of the first.
func TestKeysAreMadeOnce(t *testing.T) {
	c := fake.NewClientset()
	made := 0
	o := Options{Namespace: "a", CloudNamespace: "b", NewKey: func() string { made++; return strings.Repeat("k", made) }}
	for range 2 {
		if _, err := o.secrets(t.Context(), c, o.CloudValues, o.OperatorValues); err != nil {
			t.Fatal(err)
		}
	}
	keys, operator := secret(t, c, "b", CloudKeys), secret(t, c, "a", OperatorKey)
	if made != 2 || string(keys.Data[EntryAdmin]) == string(keys.Data[EntryOperator]) {
		t.Errorf("%d keys were made: %v", made, keys.Data)
	}
	if string(operator.Data[EntryKey]) != string(keys.Data[EntryOperator]) || string(operator.Data[EntryURL]) != "http://speedscale-cloud.b.svc" {
		t.Errorf("the operator has %q", operator.Data)
	}
}

// TestOperatorFindsACloudWithTLS, and one on another port.
func TestOperatorFindsACloudWithTLS(t *testing.T) {
	tls := map[string]any{"secret": "cloud-tls"}
	for _, tc := range []struct {
		values map[string]any
		want   string
	}{
		{nil, "http://speedscale-cloud.b.svc"},
		{map[string]any{"service": map[string]any{"port": int64(8080)}}, "http://speedscale-cloud.b.svc:8080"},
		{map[string]any{"tls": tls}, "https://speedscale-cloud.b.svc:80"},
		{map[string]any{"tls": tls, "service": map[string]any{"port": int64(443)}}, "https://speedscale-cloud.b.svc"},
		{map[string]any{"tls": tls, "service": map[string]any{"port": 8443.0}}, "https://speedscale-cloud.b.svc:8443"},
	} {
		c := fake.NewClientset()
		o := Options{Namespace: "a", CloudNamespace: "b", CloudValues: tc.values, NewKey: func() string { return "k" }}
		if _, err := o.secrets(t.Context(), c, o.CloudValues, o.OperatorValues); err != nil {
			t.Fatal(err)
		}
		if got := string(secret(t, c, "a", OperatorKey).Data[EntryURL]); got != tc.want {
			t.Errorf("with %v the operator has %q, want %q", tc.values, got, tc.want)
		}
	}
}

func TestCloudElsewhere(t *testing.T) {
	c := fake.NewClientset()
	o := Options{Namespace: "a", CloudNamespace: "b", AppURL: "https://cloud.example", APIKey: "first"}
	for _, key := range []string{"first", "second"} {
		o.APIKey = key
		if _, err := o.secrets(t.Context(), c, o.CloudValues, o.OperatorValues); err != nil {
			t.Fatal(err)
		}
		if s := secret(t, c, "a", OperatorKey); string(s.Data[EntryKey]) != key || string(s.Data[EntryURL]) != "https://cloud.example" {
			t.Errorf("the operator has %q", s.Data)
		}
	}
	if _, err := c.CoreV1().Namespaces().Get(t.Context(), "b", metav1.GetOptions{}); err == nil {
		t.Error("a namespace was made for a cloud that is elsewhere")
	}
}

func TestSecretWithoutAKeyIsNamed(t *testing.T) {
	c := fake.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: CloudKeys, Namespace: "b"}, Data: map[string][]byte{EntryAdmin: []byte("k")}})
	o := Options{Namespace: "a", CloudNamespace: "b", NewKey: func() string { return "new" }}
	if _, err := o.secrets(t.Context(), c, o.CloudValues, o.OperatorValues); err == nil || !strings.Contains(err.Error(), `no entry "operator"`) {
		t.Errorf("got %v", err)
	}
}

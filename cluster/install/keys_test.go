package install_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/speedscale/speedscale/cluster/install"
)

func secretNamed(namespace, name string, entries ...string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{}}
	for _, entry := range entries {
		s.Data[entry] = []byte("the " + entry + " of " + name)
	}
	return s
}

// TestSecretThatAValueNamesHasToBeThere: speedctl does not make it, and makes nothing
// without it.
func TestSecretThatAValueNamesHasToBeThere(t *testing.T) {
	mine := map[string]any{"apiKeySecret": "from-vault"}
	for name, tt := range map[string]struct {
		cloud, operator map[string]any
		objects         []runtime.Object
		want            []string
	}{
		"the cloud's":             {mine, nil, nil, []string{"apiKeySecret of speedscale-cloud", `secret "from-vault" in namespace "b"`, "admin and operator"}},
		"the cloud's, half of it": {mine, nil, []runtime.Object{secretNamed("b", "from-vault", "admin")}, []string{`secret "from-vault" in namespace "b" has no entry "operator"`}},
		"the operator's":          {nil, mine, nil, []string{"apiKeySecret of speedscale-operator", `secret "from-vault" in namespace "a"`, "SPEEDSCALE_API_KEY and SPEEDSCALE_APP_URL"}},
		"the operator's, with a URL": {nil, map[string]any{"apiKeySecret": "from-vault", "appUrl": "https://cloud.example"},
			[]runtime.Object{secretNamed("a", "from-vault", "other")}, []string{`has no entry "SPEEDSCALE_API_KEY"`}},
	} {
		c, o := installing(t, tt.objects...)
		o.AppURL, o.NewKey, o.CloudValues, o.OperatorValues = "", func() string { return "made" }, tt.cloud, tt.operator
		o.Timeout = time.Second
		for verb, do := range map[string]func() error{
			"install": func() error { _, err := install.Run(t.Context(), c, releases{}, o); return err },
			"upgrade": func() error {
				_, err := install.Upgrade(t.Context(), c, releases{"speedscale-cloud": nil, "speedscale-operator": nil}, o)
				return err
			},
		} {
			err := do()
			if _, wrong := errors.AsType[*install.ValuesError](err); !wrong {
				t.Errorf("%s, %s: %v", name, verb, err)
				continue
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s, %s: %v, want %s", name, verb, err, want)
				}
			}
		}
		if list := made(c); len(list) > 0 {
			t.Errorf("%s: it did %v", name, list)
		}
	}
}

// TestOperatorHasTheKeyOfTheSecretThatTheCloudReads, and no other is made.
func TestOperatorHasTheKeyOfTheSecretThatTheCloudReads(t *testing.T) {
	c, o := installing(t, settings("speedscale-operator", nil), deploymentOf("speedscale-forwarder", "new", 1), secretNamed("b", "from-vault", "admin", "operator"), standardClass(false))
	o.AppURL, o.NewKey, o.CloudValues = "", func() string { return "made" }, map[string]any{"apiKeySecret": "from-vault"}
	there := releases{}
	if _, err := install.Run(t.Context(), c, there, o); err != nil {
		t.Fatal(err)
	}
	s, err := c.CoreV1().Secrets("a").Get(t.Context(), install.OperatorKey, metav1.GetOptions{})
	if err != nil || string(s.Data[install.EntryKey]) != "the operator of from-vault" {
		t.Errorf("the operator has %q, %v", s.Data, err)
	}
	if _, err := c.CoreV1().Secrets("b").Get(t.Context(), install.CloudKeys, metav1.GetOptions{}); err == nil {
		t.Error("keys were made that nobody reads")
	}
	if name := there["speedscale-cloud"]["apiKeySecret"]; name != "from-vault" {
		t.Errorf("the cloud reads %v", name)
	}
}

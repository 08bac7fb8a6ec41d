package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"

	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/speedctl/term"
)

func cluster(objects ...runtime.Object) *client.Cluster {
	return &client.Cluster{Config: &rest.Config{Host: "http://127.0.0.1:1"}, Client: fake.NewClientset(objects...), Namespace: "there"}
}

func service() *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "there", Name: "speedscale-cloud"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
}

func secret(name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "there", Name: name}, Data: map[string][]byte{"admin": []byte("sp_of_the_secret")}}
}

// TestKeyOfTheCluster: a key that was given wins over the Secret's, and the log says
// where the key is from, never the key.
func TestKeyOfTheCluster(t *testing.T) {
	named := service()
	named.Annotations = map[string]string{"controlplane.speedscale.com/api-key-secret": "from-vault"}
	for name, c := range map[string]struct {
		service         *corev1.Service
		key, from, want string
	}{
		"given":  {service(), "sp_given", "--api-key", "from=--api-key"},
		"secret": {service(), "", "", `from="secret \"speedscale-api-keys\" in namespace \"there\""`},
		"named":  {named, "", "", `from="secret \"from-vault\" in namespace \"there\""`},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			made, err := client.Connect(t.Context(), client.Options{
				Home: home.Dir(t.TempDir()), Cluster: cluster(c.service, secret("speedscale-api-keys"), secret("from-vault")), APIKey: c.key, KeyFrom: c.from,
				Logger: slog.New(slog.NewTextHandler(&log, nil)), Say: t.Logf,
			})
			if err != nil {
				t.Fatal(err)
			}
			made.Close()
			if !strings.Contains(log.String(), c.want) || strings.Contains(log.String(), "sp_") {
				t.Errorf("it says %s", &log)
			}
		})
	}
}

func TestNoCloudOrKeyInTheCluster(t *testing.T) {
	connect := func(c *client.Cluster) error {
		made, err := client.Connect(t.Context(), client.Options{Home: home.Dir(t.TempDir()), Cluster: c, Logger: slog.New(slog.DiscardHandler), Say: t.Logf})
		if err == nil {
			made.Close()
		}
		return err
	}
	if err := connect(cluster()); !errors.Is(err, client.ErrNoCloud) || term.CodeOf(err) != term.ExitNotFound {
		t.Errorf("no cloud: %v", err)
	}
	if err := connect(cluster(service())); err == nil || !strings.Contains(err.Error(), `"speedscale-api-keys" not found`) || term.CodeOf(err) != term.ExitDenied {
		t.Errorf("no Secret: %v", err)
	}
	empty := secret("speedscale-api-keys")
	empty.Data = nil
	if err := connect(cluster(service(), empty)); err == nil || !strings.Contains(err.Error(), `no entry "admin"`) {
		t.Errorf("an empty Secret: %v", err)
	}
}

// TestTLSOfTheClustersCloud is what its Service states, whatever the port; one that states
// nothing has TLS at port 443.
func TestTLSOfTheClustersCloud(t *testing.T) {
	for _, tt := range []struct {
		port     int32
		protocol *string
		want     bool
	}{
		{80, new("https"), true}, {8443, new("https"), true}, {443, nil, true},
		{80, nil, false}, {80, new("http"), false}, {443, new("http"), false},
	} {
		s := service()
		s.Spec.Ports[0].Port, s.Spec.Ports[0].AppProtocol = tt.port, tt.protocol
		made, err := client.Connect(t.Context(), client.Options{
			Home: home.Dir(t.TempDir()), Cluster: cluster(s, secret("speedscale-api-keys")), Logger: slog.New(slog.DiscardHandler), Say: t.Logf,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // nothing answers
		_, err = made.Bus(ctx, "test", slog.New(slog.DiscardHandler))
		if err == nil || strings.Contains(err.Error(), "the cluster's cloud has a certificate") != tt.want {
			t.Errorf("port %d: %v, TLS is %v", tt.port, err, tt.want)
		}
		made.Close()
	}
}

// TestAddCluster: the context of a cluster is the current one only where there was
// none, and takes no other cloud's name.
func TestAddCluster(t *testing.T) {
	dir := home.Dir(t.TempDir())
	add := func(kubeContext, wantName string, wantCurrent bool) {
		t.Helper()
		name, current, err := client.AddCluster(dir, home.Cluster{KubeContext: kubeContext, Namespace: "there"})
		if err != nil || name != wantName || current != wantCurrent {
			t.Errorf("%q: %q, %v, %v", kubeContext, name, current, err)
		}
	}
	add("staging", "staging", true)
	add("staging", "staging", true)
	add("prod", "prod", false)
	add("local", "cluster-local", false)
	add("", "cluster", false)
	cfg, err := dir.Load()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Put(home.Context{Name: "team", AppURL: "https://cloud.example"})
	if err := dir.Save(cfg); err != nil {
		t.Fatal(err)
	}
	add("team", "cluster-team", false)
	if cfg, err = dir.Load(); err != nil || cfg.CurrentContext != "team" || len(cfg.Contexts) != 6 {
		t.Errorf("%+v, %v", cfg, err)
	}
}

// TestContextOfACluster finds the cluster by the names in the context.
func TestContextOfACluster(t *testing.T) {
	dir := home.Dir(t.TempDir())
	missing := fmt.Sprintf("%s/kubeconfig", t.TempDir())
	if _, _, err := client.AddCluster(dir, home.Cluster{Kubeconfig: missing, KubeContext: "staging", Namespace: "there"}); err != nil {
		t.Fatal(err)
	}
	_, err := client.Connect(t.Context(), client.Options{Home: dir, Logger: slog.New(slog.DiscardHandler), Say: t.Logf})
	if err == nil || !strings.Contains(err.Error(), `context "staging"`) || !strings.Contains(err.Error(), missing) {
		t.Errorf("got %v", err)
	}
}

package manager

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/speedscale/speedscale/agents/agent"
	cloud "github.com/speedscale/speedscale/cloud/client"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/operator/replay"
	"github.com/speedscale/speedscale/operator/resource"
	"github.com/speedscale/speedscale/operator/webhook"
)

// defaultTimeout ends replays that do not say one.
const defaultTimeout = 20 * time.Minute

// Replays are the settings of TrafficReplays.
type Replays struct {
	// APIKey opens the cloud with the scope control.
	APIKey string
	// Namespaces are where replays can run; empty is everywhere.
	Namespaces []string
	// Timeout ends replays that do not say one.
	Timeout time.Duration
	// PublicURL is the cloud as people reach it, whom a report's page is for.
	PublicURL string
	// url is the cloud's API, and roots verify it; nil means the system's.
	url   string
	roots *x509.CertPool
}

// readReplays reads the settings of replays, and of their pods.
func readReplays(v *agent.Vars, s *Settings) {
	s.Replays = Replays{
		APIKey:     v.String("SPEEDSCALE_API_KEY", ""),
		Namespaces: v.List("NAMESPACE_SELECTOR"),
		Timeout:    v.Duration("REPLAY_TIMEOUT", defaultTimeout),
	}
	if s.Replays.Timeout <= 0 {
		v.Fail("REPLAY_TIMEOUT", s.Replays.Timeout.String(), "want a duration above 0")
	}
	if s.Replays.APIKey == "" {
		v.Missing("SPEEDSCALE_API_KEY", "replays are entered in the cloud with it")
	}
	if s.Control.AppURL == "" {
		v.Missing("SPEEDSCALE_APP_URL", "it says where the cloud is, https://HOST")
	} else if u, err := cloudURL(s.Control.AppURL); err != nil {
		v.Fail("SPEEDSCALE_APP_URL", "…", "want https://HOST")
	} else {
		s.Replays.url = u
	}
	s.Replays.roots = v.Roots("SPEEDSCALE_APP_CA")
	s.Replays.PublicURL = v.String("SPEEDSCALE_PUBLIC_URL", s.Replays.url)
	if u, err := url.Parse(s.Replays.PublicURL); s.Replays.PublicURL != "" && (err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https") {
		v.Fail("SPEEDSCALE_PUBLIC_URL", "…", "want https://HOST")
	}
	pods := &s.Control.Replay
	readJSON(v, "GENERATOR_CONFIG", &pods.Generator)
	readJSON(v, "RESPONDER_CONFIG", &pods.Responder)
	readJSON(v, "COLLECTOR_CONFIG", &pods.Collector)
}

// cloudURL is where the cloud's API is, which the bus may have another scheme for.
func cloudURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("%q has no host", text)
	}
	switch u.Scheme {
	case "ws", "nats":
		u.Scheme = "http"
	case "wss", "tls":
		u.Scheme = "https"
	}
	u.Path, u.User = "", nil // it has a key
	return u.String(), nil
}

// readCloud reads the way to the cloud, as the objects need it.
func readCloud(v *agent.Vars) resource.Cloud {
	c := resource.Cloud{
		CAConfigMap: v.String("APP_CA_CONFIG_MAP", ""),
		HTTPProxy:   v.String("HTTP_PROXY", ""), HTTPSProxy: v.String("HTTPS_PROXY", ""), NoProxy: v.String("NO_PROXY", ""),
	}
	if file := v.String("SPEEDSCALE_APP_CA", ""); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return c // which is said where the certificates are read
		}
		c.CA = string(pem)
		if c.CAConfigMap == "" {
			v.Missing("APP_CA_CONFIG_MAP", "forwarder and inspector have SPEEDSCALE_APP_CA from it")
		}
	}
	return c
}

// scheme has the types that the operator reads and makes.
func scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(s); err != nil {
		return nil, err
	}
	return s, v1.AddToScheme(s)
}

// replayCache has the TrafficReplays of the chosen namespaces.
func replayCache(s Settings) cache.ByObject {
	namespaces := map[string]cache.Config{}
	for _, name := range s.Replays.Namespaces {
		namespaces[name] = cache.Config{}
	}
	if len(namespaces) == 0 {
		namespaces[metav1.NamespaceAll] = cache.Config{}
	}
	return cache.ByObject{Namespaces: namespaces}
}

// setupReplays adds the controller of TrafficReplays, and their webhooks. direct reads
// without a cache.
func setupReplays(mgr ctrl.Manager, direct client.Client, s Settings, env *agent.Env) error {
	api, err := cloud.New(cloud.Options{URL: s.Replays.url, Key: s.Replays.APIKey, Roots: s.Replays.roots})
	if err != nil {
		return err
	}
	hooks := webhook.Replays{
		Client: direct, Snapshots: api.Snapshots, TestConfigs: api.TestConfigs,
		Instance: s.Instance, Namespaces: s.Replays.Namespaces, Timeout: s.Replays.Timeout,
	}
	server := mgr.GetWebhookServer()
	server.Register(webhook.MutateReplaysPath, admission.WithDefaulter[*v1.TrafficReplay](mgr.GetScheme(), hooks))
	server.Register(webhook.ValidateReplaysPath, admission.WithValidator[*v1.TrafficReplay](mgr.GetScheme(), hooks))
	reconciler := &replay.Reconciler{
		Client: direct, Cloud: api.Replays, CloudURL: s.Replays.url, PublicURL: s.Replays.PublicURL, Config: s.Control, Instance: s.Instance,
		Timeout: s.Replays.Timeout, Events: recorder(mgr), Now: time.Now, From: time.Now().Add(webhookLead), Logger: env.Log,
	}
	return reconciler.Setup(mgr)
}

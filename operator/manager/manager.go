// Package manager puts the operator together: certificates, webhooks and
// controllers in one process, of which replicas may run at the same time. All of
// them answer webhooks; one of them, the leader, runs the controllers.
package manager

import (
	"context"
	"crypto/tls"
	"fmt"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrlmanager "sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/speedscale/speedscale/agents/agent"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/inject"
	"github.com/speedscale/speedscale/operator/certs"
	"github.com/speedscale/speedscale/operator/controller"
	"github.com/speedscale/speedscale/operator/resource"
	"github.com/speedscale/speedscale/operator/webhook"
)

const (
	webhookPort   = 9443
	healthAddress = ":8081"
	webhookCerts  = "speedscale-webhook-certs"
	// replayWebhooks is the name of the configurations about TrafficReplays.
	replayWebhooks = "speedscale-operator-replay"
	// startLimit bounds the first question to the API server.
	startLimit = 30 * time.Second
)

// Main is the binary.
func Main(ctx context.Context, env *agent.Env) error {
	s, err := ReadSettings(env.Vars)
	if err != nil {
		return err
	}
	log := logr.FromSlogHandler(env.Log.Handler())
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	if config.Proxy == nil {
		config.Proxy = agent.NoProxy
	}
	mgr, err := New(ctx, config, s, env)
	if err != nil {
		return err
	}
	env.Log.Info("operator runs", "namespace", s.Control.Namespace, "instance", s.Instance)
	return mgr.Start(ctx)
}

// New returns the operator, ready to be started.
func New(ctx context.Context, config *rest.Config, s Settings, env *agent.Env) (ctrl.Manager, error) {
	types, err := scheme()
	if err != nil {
		return nil, err
	}
	direct, err := client.New(config, client.Options{Scheme: types})
	if err != nil {
		return nil, err
	}
	owner, err := ownerOf(ctx, direct, s.Control.Namespace)
	if err != nil {
		return nil, err
	}
	secret := func(name string) certs.Secret {
		return certs.Secret{Client: direct, Namespace: s.Control.Namespace, Name: name, Owner: owner}
	}
	serving := certs.New(certs.Options{
		Secret: secret(webhookCerts), Service: resource.Operator, Logger: env.Log,
		Mutating: []string{resource.Operator, replayWebhooks}, Validating: []string{replayWebhooks},
	})
	pinned := certs.NewPinned(secret(resource.ForwarderCerts), resource.Forwarder, env.Log)
	// The catalogue's certificate is in the demo's namespace, which the chart makes and deletes.
	catalog := certs.NewPinned(certs.Secret{Client: direct, Namespace: resource.DemoNamespace, Name: resource.DemoCerts}, resource.DemoCatalog, env.Log)
	mgr, err := ctrl.NewManager(config, options(s, types, serving.GetCertificate))
	if err != nil {
		return nil, err
	}
	bare := controller.NewBarePods(direct, recorder(mgr), env.Log)
	runs := []ctrlmanager.Runnable{serving, pinned, bare}
	if s.Control.Demo == resource.DemoJava {
		runs = append(runs, catalog)
	}
	for _, r := range runs {
		if err := mgr.Add(r); err != nil {
			return nil, err
		}
	}
	hooks := mgr.GetWebhookServer()
	hooks.Register(webhook.WorkloadsPath, &admission.Webhook{Handler: webhook.Workloads{
		Instance: s.Instance, Running: webhook.AskRunning(direct, env.Log), Logger: env.Log,
	}})
	hooks.Register(webhook.AmbientPath, &admission.Webhook{Handler: webhook.Ambient{}})
	hooks.Register(webhook.PodsPath, &admission.Webhook{Handler: webhook.Pods{
		Instance: s.Instance, Logger: env.Log, Options: func() inject.Options { return injection(s, pinned.PEM()) },
		Running: webhook.AskRunning(direct, env.Log), Withdrawn: webhook.AskWithdrawn(direct, env.Log), Refused: bare.Refused,
	}})
	control := &controller.ControlPlane{
		Client: mgr.GetClient(), Config: s.Control, Certificate: pinned.PEM, DemoCertificate: catalog.PEM, Namespaces: s.Replays.Namespaces, Logger: env.Log,
	}
	if err := control.Setup(mgr); err != nil {
		return nil, err
	}
	if err := setupReplays(mgr, direct, s, env); err != nil {
		return nil, err
	}
	if err := setupQuiet(mgr, direct, s, env); err != nil {
		return nil, err
	}
	if err := setupWorkloads(mgr, direct, pinned.PEM, s, env); err != nil {
		return nil, err
	}
	for name, check := range map[string]healthz.Checker{
		"certificate": serving.Ready, "forwarder-certificate": pinned.Ready, "webhooks": hooks.StartedChecker(),
	} {
		if err := mgr.AddReadyzCheck(name, check); err != nil {
			return nil, err
		}
	}
	return mgr, mgr.AddHealthzCheck("ping", healthz.Ping)
}

// options keep the caches to the operator's namespace, and to its own ConfigMap
// there, since it has no right to read more.
func options(s Settings, types *runtime.Scheme, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) ctrl.Options {
	namespace := map[string]cache.Config{s.Control.Namespace: {}}
	own := fields.OneTermEqualSelector("metadata.name", resource.Operator)
	return ctrl.Options{
		Scheme: types,
		Cache: cache.Options{
			DefaultNamespaces: namespace,
			ByObject: map[client.Object]cache.ByObject{
				&corev1.ConfigMap{}: {Field: own, Namespaces: namespace}, &v1.TrafficReplay{}: replayCache(s),
			},
		},
		LeaderElection:                true,
		LeaderElectionID:              resource.Operator,
		LeaderElectionNamespace:       s.Control.Namespace,
		LeaderElectionReleaseOnCancel: true, // the process ends when the manager does
		HealthProbeBindAddress:        healthAddress,
		Metrics:                       server.Options{BindAddress: "0"},
		WebhookServer: ctrlwebhook.NewServer(ctrlwebhook.Options{
			Port: webhookPort,
			TLSOpts: []func(*tls.Config){func(c *tls.Config) {
				c.MinVersion = tls.VersionTLS12
				c.GetCertificate = certificate
			}},
		}),
	}
}

// ownerOf returns the reference to the operator's ConfigMap.
func ownerOf(ctx context.Context, c client.Client, namespace string) (*metav1.OwnerReference, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	config := &corev1.ConfigMap{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: resource.Operator}, config); err != nil {
		return nil, fmt.Errorf("configmap %q, which owns what the operator makes: %w", namespace+"/"+resource.Operator, err)
	}
	return &metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: config.Name, UID: config.UID}, nil
}

// injection is what the settings and the forwarder's certificate make of each pod.
func injection(s Settings, forwarderCA string) inject.Options {
	return inject.Options{
		GoproxyImage:   s.Control.Images.Of("goproxy"),
		InitproxyImage: s.Control.Images.Of("initproxy"),
		PullPolicy:     s.Control.Images.PullPolicy,
		Forwarder:      resource.Forwarder + "." + s.Control.Namespace + ".svc:" + strconv.Itoa(resource.ForwarderPort),
		ForwarderCA:    forwarderCA,
		Cluster:        s.Control.Cluster,
		LogLevel:       s.Control.LogLevel,
		Version:        s.Control.Images.Tag,
		Telemetry:      s.Control.TelemetryInterval.String(),
		UpstreamCA:     s.Sidecar.UpstreamCAs,
		MaskInSidecar:  s.Sidecar.MaskIn == "sidecar",
		Resources:      s.Sidecar.Resources,
		NativeSidecars: true, // the chart wants Kubernetes 1.30
	}
}

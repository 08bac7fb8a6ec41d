package manager

import (
	"net"
	"strconv"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/operator/controller"
	"github.com/speedscale/speedscale/operator/note"
	"github.com/speedscale/speedscale/operator/resource"
	"github.com/speedscale/speedscale/operator/webhook"
)

// webhookLead is how long after its start the operator's webhook is reached at the
// latest: its probe and the node's rules for the Service come first.
const webhookLead = 15 * time.Second

// lookAgain is how soon Argo Rollouts are met that are installed later.
const lookAgain = 10 * time.Second

// recorder writes the operator's events.
func recorder(mgr ctrl.Manager) note.Recorder {
	return note.Recorder{To: mgr.GetEventRecorder(resource.Operator)}
}

// setupWorkloads adds the controllers of workloads that ask for a sidecar. direct reads
// without a cache, and certificate is the forwarder's.
func setupWorkloads(mgr ctrl.Manager, direct client.Client, certificate func() string, s Settings, env *agent.Env) error {
	workloads := &controller.Workloads{
		Client: direct, Instance: s.Instance, Namespaces: s.Replays.Namespaces,
		Events: recorder(mgr), Now: time.Now, From: time.Now().Add(webhookLead), Logger: env.Log,
		LookAgain: lookAgain, Certificate: certificate, Running: webhook.AskRunning(direct, env.Log),
	}
	return workloads.Setup(mgr)
}

// setupQuiet adds what looks for sidecars that see nothing.
func setupQuiet(mgr ctrl.Manager, direct client.Client, s Settings, env *agent.Env) error {
	if s.Control.TelemetryInterval <= 0 {
		return nil
	}
	at := net.JoinHostPort(resource.Forwarder+"."+s.Control.Namespace+".svc", strconv.Itoa(resource.ForwarderHealth))
	return mgr.Add(&controller.Quiet{
		Telemetry: controller.AskForwarder("http://" + at + "/telemetry"),
		Client:    direct, Events: recorder(mgr), Now: time.Now, Logger: env.Log,
	})
}

package replay

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/speedscale/speedscale/cluster/annotation"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/operator/resource"
)

// mocks starts the responder, where something is mocked, and waits until it answers. Once
// the generator runs, it looks whether the responder still does.
func (p *pass) mocks(ctx context.Context) (string, error) {
	keys := p.mocked()
	if len(keys) == 0 {
		return "", nil
	}
	if p.job != nil {
		return "", p.answering(ctx)
	}
	objects, config, err := p.configured()
	if err != nil {
		return "", err
	}
	objects.Config.Replay.Responder.Resources, err = overridden(objects.Config.Replay.Responder.Resources, config.ResponderResources())
	if err != nil {
		return "", err
	}
	d, err := ensure(ctx, p, objects.ResponderDeployment(keys), objects.ResponderService())
	if err != nil {
		return "", err
	}
	if d.Status.ObservedGeneration >= d.Generation && d.Status.ReadyReplicas > 0 {
		return "", nil
	}
	why, err := p.deploymentUnready(ctx, d, resource.Responder)
	why = "the responder is not ready: " + why
	if p.mocking() {
		p.unmocked, why = why, ""
	}
	return why, err
}

// deploymentUnready says why a Deployment of the replay's own has no ready pod.
func (p *pass) deploymentUnready(ctx context.Context, d *appsv1.Deployment, component string) (string, error) {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return c.Message, nil
		}
	}
	return p.unready(ctx, map[string]string{annotation.ReplayID: p.id(), annotation.ReplayComponent: component})
}

// collect starts the collector where the test config asks for one. A replay goes on
// without it.
func (p *pass) collect(ctx context.Context, targets []*target) {
	objects, config, err := p.configured()
	if err != nil || !config.LogsCollected() {
		return
	}
	selector, err := p.collected(targets)
	if err == nil && selector != "" {
		_, err = ensure(ctx, p, objects.CollectorDeployment(selector), objects.CollectorAccount(), objects.CollectorBinding())
	}
	if err != nil && p.entering(v1.ReasonWorkload) {
		p.noCollector(fmt.Sprintf("the replay goes on without its collector: %v", err))
	}
}

// noCollector says what the replay lacks.
func (p *pass) noCollector(text string) {
	p.Events.Eventf(p.replay, nil, corev1.EventTypeWarning, "NoCollector", "Replay", "%s", text)
	p.Logger.Warn("there is no collector", "replay", p.name(), "reason", text)
}

// collected selects the pods of the workloads: by the replay's labels where they get
// them, else those of the one workload that there is.
func (p *pass) collected(targets []*target) (string, error) {
	var plain []*target
	routed := false
	for _, t := range targets {
		switch {
		case t.routed:
			routed = true
		case t.workload != nil:
			plain = append(plain, t)
		}
	}
	switch {
	case routed:
		return labels.Set{annotation.ReplayID: p.id()}.String() + "," + annotation.ReplayTarget, nil
	case len(plain) == 1:
		return metav1.FormatLabelSelector(plain[0].workload.Selector), nil
	case len(plain) > 1:
		return "", fmt.Errorf("without routing it looks at one workload only, and there are %d", len(plain))
	}
	return "", nil
}

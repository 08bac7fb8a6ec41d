package replay

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/workload"
	"github.com/speedscale/speedscale/operator/resource"
	"github.com/speedscale/speedscale/traffic/report"
)

// unreadyLimit is how long the pod of a component may be unready while requests are sent.
const unreadyLimit = 5 * time.Second

// answering ends the replay where the responder was not there all the time: what the app
// sent it meanwhile failed, and what it had counted is lost.
func (p *pass) answering(ctx context.Context) error {
	why, err := p.lasted(ctx, resource.Responder)
	if err == nil && why != "" {
		err = failf("the responder failed while requests were sent: %s", why)
	}
	return err
}

// collecting says, in an event and in the report, that the collector was not there all the
// time. A replay is what it is without it.
func (p *pass) collecting(ctx context.Context) error {
	config, err := p.config()
	if err != nil || !config.LogsCollected() {
		return err
	}
	targets, err := p.targets(ctx)
	if err != nil {
		return err
	}
	if selector, err := p.collected(targets); err != nil || selector == "" {
		return nil // there is none, and its error was said when there should have been
	}
	why, err := p.lasted(ctx, resource.Collector)
	if err != nil || why == "" {
		return err
	}
	text := "logs, events and usage of the workload are incomplete: the collector failed: " + why
	p.noCollector(text)
	p.warn(ctx, text)
	return nil
}

// lasted says why a component has not been there since the generator was made, "" where
// it has.
func (p *pass) lasted(ctx context.Context, component string) (string, error) {
	d := &appsv1.Deployment{}
	err := p.Client.Get(ctx, client.ObjectKey{Namespace: p.replay.Namespace, Name: p.objects().NameOf(component)}, d)
	switch {
	case apierrors.IsNotFound(err):
		return "its Deployment is not there", nil
	case err != nil:
		return "", err
	}
	pods := &corev1.PodList{}
	if err := p.Client.List(ctx, pods, client.InNamespace(p.replay.Namespace),
		client.MatchingLabels{annotation.ReplayID: p.id(), annotation.ReplayComponent: component}); err != nil {
		return "", err
	}
	var reasons []string
	for i := range pods.Items {
		why, err := p.podLasted(ctx, component, &pods.Items[i])
		if why == "" || err != nil {
			return "", err
		}
		reasons = append(reasons, why)
	}
	if len(reasons) == 0 {
		return p.deploymentUnready(ctx, d, component)
	}
	return strings.Join(reasons[:min(len(reasons), mostNamed)], "; "), nil
}

// podLasted is lasted for one pod.
func (p *pass) podLasted(ctx context.Context, component string, pod *corev1.Pod) (string, error) {
	since := p.job.CreationTimestamp.Time
	why := ended(pod, since)
	// The first pod of a responder is older than the generator; that of a collector need not be.
	if why == "" && component == resource.Responder && pod.CreationTimestamp.After(since) {
		why = "it was made in place of another one"
	}
	if why != "" {
		return fmt.Sprintf("pod %q: %s", pod.Name, why), nil
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && p.Now().Sub(c.LastTransitionTime.Time) < unreadyLimit {
			return "", nil
		}
	}
	return p.podUnready(ctx, pod)
}

// ended says how a pod ends, or one of its containers has ended since a time; "" where it
// only runs.
func ended(pod *corev1.Pod, since time.Time) string {
	switch pod.Status.Phase {
	case corev1.PodFailed:
		return workload.Unready(pod)
	case corev1.PodSucceeded:
		return "it has ended"
	}
	for _, c := range pod.Status.ContainerStatuses {
		for _, end := range []*corev1.ContainerStateTerminated{c.State.Terminated, c.LastTerminationState.Terminated} {
			if end != nil && !end.FinishedAt.Time.Before(since) {
				return fmt.Sprintf("container %q ended with %d (%s)", c.Name, end.ExitCode, end.Reason)
			}
		}
	}
	if !pod.DeletionTimestamp.IsZero() {
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
				return because(c.Message, "it is deleted")
			}
		}
		return "it is deleted"
	}
	return ""
}

// warn puts a warning into the report, of which it is a part like those of the agents.
func (p *pass) warn(ctx context.Context, text string) {
	b := report.NewBuilder(nil, report.Options{Started: p.Now()})
	b.Warn(text)
	doc, err := json.Marshal(b.Part())
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, publishLimit)
		defer cancel()
		_, err = p.Cloud.PutPart(ctx, &cloudv1.PutPartRequest{ReplayId: p.id(), Name: resource.Operator, Part: doc})
	}
	if err != nil {
		p.Logger.Warn("the report lacks a warning", "replay", p.name(), "warning", text, "error", err)
	}
}

package replay

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/operator/resource"
)

// generator returns the Job, nil where there is none yet.
func (p *pass) generator(ctx context.Context) (*batchv1.Job, error) {
	if p.replay.Status.Name == "" {
		return nil, nil
	}
	job := &batchv1.Job{}
	err := p.Client.Get(ctx, client.ObjectKey{Namespace: p.replay.Namespace, Name: p.objects().NameOf(resource.Generator)}, job)
	if err != nil || !metav1.IsControlledBy(job, p.replay) {
		return nil, client.IgnoreNotFound(err)
	}
	return job, nil
}

// generate sends the requests, and waits until that has ended. Where none are sent, it
// says that the mocks are ready.
func (p *pass) generate(ctx context.Context) (string, error) {
	p.initialized()
	if !Sends(&p.replay.Spec) {
		return "mocks are answered until the replay is deleted", nil
	}
	objects, config, err := p.configured()
	if err != nil {
		return "", err
	}
	job := p.job
	if job == nil {
		objects.Config.Replay.Generator.Resources, err = overridden(objects.Config.Replay.Generator.Resources, config.GeneratorResources())
		if err != nil {
			return "", err
		}
		targets, err := p.targets(ctx)
		if err != nil {
			return "", err
		}
		destinations, err := p.destinations(ctx, targets)
		if err != nil {
			return "", err
		}
		if job, err = ensure(ctx, p, objects.GeneratorJob(destinations, int32(config.Replicas()), p.deadline().Sub(p.Now()))); err != nil {
			return "", err
		}
		p.job = job
	}
	for _, c := range job.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			return "", nil
		case batchv1.JobFailed:
			return "", p.generatorFailed(ctx, c)
		}
	}
	return p.generating(ctx, job)
}

// initialized notes once that workloads and mocks are ready.
func (p *pass) initialized() {
	if p.replay.Status.InitializedTime == nil {
		p.replay.Status.InitializedTime = new(metav1.NewTime(p.Now()))
	}
}

// generating says how far the Job is.
func (p *pass) generating(ctx context.Context, job *batchv1.Job) (string, error) {
	n := *job.Spec.Completions
	if ready := job.Status.Ready; job.Status.Succeeded > 0 || ready != nil && *ready == n {
		return fmt.Sprintf("%d of %d generators send requests", n-job.Status.Succeeded, n), nil
	}
	why, err := p.unready(ctx, map[string]string{annotation.ReplayID: p.id(), annotation.ReplayComponent: resource.Generator})
	return "the generator starts: " + why, err
}

// generatorFailed says why the Job has failed.
func (p *pass) generatorFailed(ctx context.Context, c batchv1.JobCondition) error {
	if c.Reason == batchv1.JobReasonDeadlineExceeded {
		return failf("timeout of %s: the generator had not ended", p.timeout())
	}
	why, err := p.unready(ctx, map[string]string{annotation.ReplayID: p.id(), annotation.ReplayComponent: resource.Generator})
	if err != nil {
		return err
	}
	return failf("the generator failed: %s (%s)", why, c.Message)
}

// stopGenerator ends the sending at once.
func (p *pass) stopGenerator(ctx context.Context) error {
	if p.replay.Status.Name == "" {
		return nil
	}
	return p.discardOwn(ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Namespace: p.replay.Namespace, Name: p.objects().NameOf(resource.Generator),
	}})
}

// destinations says where the requests of each slice go, and makes the Services by
// which they do.
func (p *pass) destinations(ctx context.Context, targets []*target) ([]resource.Destination, error) {
	objects := p.objects()
	var list []resource.Destination
	for _, t := range targets {
		if len(t.Tests) == 0 {
			continue
		}
		if t.url != "" {
			base, err := Base(t.url)
			if err != nil {
				return nil, failf("%v", err)
			}
			for _, key := range t.Tests {
				list = append(list, resource.Destination{Key: key, URL: base})
			}
			continue
		}
		own, ports, err := p.ownService(ctx, objects, t)
		if err != nil {
			return nil, err
		}
		selector := objects.Routed(t.label)
		if !t.routed {
			if selector, err = plainSelector(t); err != nil {
				return nil, err
			}
		}
		if err := p.put(ctx, objects.TargetService(t.label, selector, ports)); err != nil {
			return nil, err
		}
		list = append(list, own...)
	}
	if len(list) == 0 {
		return nil, failf("there are no requests to send: no workload has tests")
	}
	return list, nil
}

// ownService returns where a target's requests go: ports of the Service that is made
// for it, with the scheme as recorded.
func (p *pass) ownService(ctx context.Context, objects resource.Replay, t *target) (list []resource.Destination, ports []int32, err error) {
	services := &corev1.ServiceList{}
	if err := p.Client.List(ctx, services, client.InNamespace(p.replay.Namespace)); err != nil {
		return nil, nil, err
	}
	for _, key := range t.Tests {
		port, err := Port(key, t.workload.Template, services.Items)
		if err != nil {
			return nil, nil, failf("%s: %v", t.workload.Ref, err)
		}
		if !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
		list = append(list, resource.Destination{Key: key, URL: objects.Address(objects.TargetName(t.label), port), Observed: t.routed})
	}
	return list, ports, nil
}

func plainSelector(t *target) (map[string]string, error) {
	if s := t.workload.Selector; len(s.MatchExpressions) == 0 {
		return s.MatchLabels, nil
	}
	return nil, failf("%s: its selector has matchExpressions, which a Service cannot have: give the workload a customURI", t.workload.Ref)
}

// Port returns the port of a template's containers that requests of a slice are sent
// to: where a Service with the slice's port leads to, else the same port, else the only
// one that there is.
func Port(key string, template corev1.PodTemplateSpec, services []corev1.Service) (int32, error) {
	_, place, _ := strings.Cut(key, ":")
	i := strings.LastIndex(place, ":")
	recorded, err := strconv.ParseUint(place[i+1:], 10, 16)
	if err != nil || i < 0 {
		return 0, fmt.Errorf("slice key %q has no port", key)
	}
	host, _, _ := strings.Cut(place[:i], ".")
	var found []int32
	for _, s := range services {
		if len(s.Spec.Selector) == 0 || !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(template.Labels)) || s.Labels[annotation.ReplayID] != "" {
			continue
		}
		for _, sp := range s.Spec.Ports {
			port, ok := targetPort(sp, template)
			if !ok || uint64(sp.Port) != recorded {
				continue
			}
			if s.Name == host {
				return port, nil
			}
			found = append(found, port)
		}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	ports := containerPorts(template)
	switch {
	case len(found) == 1:
		return found[0], nil
	case slices.Contains(ports, int32(recorded)):
		return int32(recorded), nil
	case len(found) == 0 && len(ports) == 1:
		return ports[0], nil
	}
	return 0, fmt.Errorf("port of slice %q: no Service of its pods has port %d, and its containers name %d ports: name containerPort %[2]d, or give the workload a customURI", key, recorded, len(ports))
}

func containerPorts(template corev1.PodTemplateSpec) (ports []int32) {
	for _, c := range template.Spec.Containers {
		for _, p := range c.Ports {
			if (p.Protocol == "" || p.Protocol == corev1.ProtocolTCP) && !slices.Contains(ports, p.ContainerPort) {
				ports = append(ports, p.ContainerPort)
			}
		}
	}
	return ports
}

func targetPort(sp corev1.ServicePort, template corev1.PodTemplateSpec) (int32, bool) {
	if sp.Protocol != "" && sp.Protocol != corev1.ProtocolTCP {
		return 0, false
	}
	switch {
	case sp.TargetPort.Type == intstr.Int && sp.TargetPort.IntVal != 0:
		return sp.TargetPort.IntVal, true
	case sp.TargetPort.Type == intstr.Int:
		return sp.Port, true
	}
	for _, c := range template.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == sp.TargetPort.StrVal {
				return p.ContainerPort, true
			}
		}
	}
	return 0, false
}

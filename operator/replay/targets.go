package replay

import (
	"context"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/cluster/annotation"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/argo"
	"github.com/speedscale/speedscale/cluster/workload"
)

// target is a workload of the replay, or a URL.
type target struct {
	v1.Target
	// label is the value of annotation.ReplayTarget.
	label string
	// url is where requests go in place of the workload, "" for nowhere else.
	url string
	// routed says that the workload's pods get the replay's sidecar.
	routed bool
	// aliases says that mocked hosts are known by host aliases.
	aliases bool
	// workload is nil for a URL; uid, version and generation are the object's.
	workload *workload.Workload
	object   client.Object
}

// Object returns an empty object of a workload's kind; nil where it is not supported.
func Object(kind string) client.Object {
	switch kind {
	case workload.Deployment:
		return &appsv1.Deployment{}
	case workload.StatefulSet:
		return &appsv1.StatefulSet{}
	case workload.DaemonSet:
		return &appsv1.DaemonSet{}
	case workload.ArgoRollout:
		return argo.New()
	}
	return nil
}

// targets reads the workloads. One that is gone is an error that ends the replay.
func (p *pass) targets(ctx context.Context) ([]*target, error) {
	spec := &p.replay.Spec
	list := make([]*target, 0, len(p.replay.Status.Targets))
	for i, t := range p.replay.Status.Targets {
		n := &target{Target: t, label: strconv.Itoa(i)}
		list = append(list, n)
		if i >= len(spec.Workloads) {
			n.url = spec.CustomURL
			continue
		}
		w := spec.Workloads[i]
		n.url, n.aliases = w.CustomURI, w.Routing == v1.RoutingHostAlias && len(t.Mocks) > 0
		if w.Ref == nil {
			continue
		}
		sends := len(t.Tests) > 0 && n.url == ""
		if len(t.Mocks) == 0 && !sends {
			continue // nothing is done with it
		}
		var err error
		if n.object, err = p.read(ctx, *w.Ref); err != nil {
			return nil, err
		}
		if n.object == nil {
			return nil, failf("%s is gone", ref(p.replay, *w.Ref))
		}
		var ok bool
		if n.workload, ok = workload.Of(n.object); !ok {
			return nil, failf("%s cannot be read", ref(p.replay, *w.Ref))
		}
		if of := n.workload.Elsewhere; of != nil {
			return nil, failf("%s cannot be replayed: its pods are of the template of %s %q", n.workload.Ref, strings.ToLower(of.Kind), of.Name)
		}
		// A sidecar that is there would take what is sent for live traffic.
		_, captured := n.workload.Template.Annotations[annotation.Stamp]
		n.routed = spec.Mode != v1.ModeGeneratorOnly || captured
	}
	return list, nil
}

// read returns a workload's object, nil where it is gone.
func (p *pass) read(ctx context.Context, r v1.WorkloadRef) (client.Object, error) {
	o := Object(r.Kind)
	if o == nil {
		return nil, failf("%s: a %s cannot be replayed", ref(p.replay, r), r.Kind)
	}
	err := p.Client.Get(ctx, types.NamespacedName{Namespace: p.replay.Namespace, Name: r.Name}, o)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) { // its definition may be gone too
		return nil, nil
	}
	return o, err
}

func ref(replay *v1.TrafficReplay, r v1.WorkloadRef) workload.Ref {
	return workload.Ref{Kind: r.Kind, Namespace: replay.Namespace, Name: r.Name}
}

// podsOf returns the pods of a workload that are not going away.
func (p *pass) podsOf(ctx context.Context, w *workload.Workload) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(w.Selector)
	if err != nil {
		return nil, failf("%s: selector: %v", w.Ref, err)
	}
	all := &corev1.PodList{}
	if err := p.Client.List(ctx, all, client.InNamespace(w.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, err
	}
	var pods []*corev1.Pod
	for i := range all.Items {
		pod := &all.Items[i]
		if ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed; !ended && pod.DeletionTimestamp.IsZero() {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}

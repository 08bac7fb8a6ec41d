package resource

import (
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// ResponderDeployment answers for the slices of the given keys.
func (r Replay) ResponderDeployment(keys []string) *appsv1.Deployment {
	env := append(r.env(Responder),
		corev1.EnvVar{Name: "SNAPSHOT_KEYS", Value: strings.Join(keys, ",")},
		corev1.EnvVar{Name: "RESPONDER_LISTEN", Value: ":" + strconv.Itoa(ResponderPort)},
		// Whom it stands for says the proxy that connects.
		corev1.EnvVar{Name: "RESPONDER_PROXY", Value: "required"})
	pod := withProbes(r.withSnapshot(r.pod(Responder, r.Config.Replay.Responder, env)))
	pod.Spec.Containers[0].Ports = append(pod.Spec.Containers[0].Ports,
		corev1.ContainerPort{Name: "responder", ContainerPort: ResponderPort, Protocol: corev1.ProtocolTCP})
	return r.deployment(Responder, pod)
}

// ResponderService is what the sidecars connect to.
func (r Replay) ResponderService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: r.meta(r.NameOf(Responder), Responder),
		Spec: corev1.ServiceSpec{
			Selector: r.selector(Responder),
			Ports: []corev1.ServicePort{{
				Name: "responder", Port: ResponderPort, TargetPort: intstr.FromString("responder"), Protocol: corev1.ProtocolTCP,
			}},
		},
	}
}

// CollectorDeployment gathers logs, events and usage of the pods that the selector
// means, as CollectorAccount.
func (r Replay) CollectorDeployment(selector string) *appsv1.Deployment {
	env := append(r.env(Collector),
		corev1.EnvVar{Name: "COLLECT_NAMESPACES", Value: r.Namespace},
		corev1.EnvVar{Name: "COLLECT_SELECTOR", Value: selector})
	pod := withProbes(r.pod(Collector, r.Config.Replay.Collector, env))
	pod.Spec.ServiceAccountName = r.NameOf(Collector)
	pod.Spec.AutomountServiceAccountToken = new(true)
	return r.deployment(Collector, pod)
}

// CollectorAccount is who the collector is for the API server.
func (r Replay) CollectorAccount() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: r.meta(r.NameOf(Collector), Collector), AutomountServiceAccountToken: new(false)}
}

// CollectorBinding gives it the rights of CollectorRole in the replay's namespace.
func (r Replay) CollectorBinding() *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: r.meta(r.NameOf(Collector), Collector),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: CollectorRole},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: r.NameOf(Collector), Namespace: r.Namespace}},
	}
}

func (r Replay) selector(component string) map[string]string {
	l := r.labels(component)
	delete(l, "app.kubernetes.io/managed-by")
	return l
}

// deployment of one pod, of which there are never two: both would write the same part
// of the report.
func (r Replay) deployment(component string, pod corev1.PodTemplateSpec) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: r.meta(r.NameOf(component), component),
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(1)),
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
			Selector: &metav1.LabelSelector{MatchLabels: r.selector(component)},
			Template: pod,
		},
	}
}

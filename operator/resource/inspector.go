package resource

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	acappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	accorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	acmetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
)

// Inspector is the name of its Deployment and of its service account, whose rights
// are the chart's.
const Inspector = "speedscale-inspector"

const (
	inspectorHealth  = 4144
	inspectorMetrics = 4145
)

// InspectorConfig is the chart's value inspector, and what else of the chart it needs.
type InspectorConfig struct {
	// Resources of its container.
	Resources corev1.ResourceRequirements `json:"resources"`
	// Namespaces are the only ones in which it has rights; none means all.
	Namespaces []string `json:"namespaces"`
}

// InspectorObjects returns the inspector. All are deleted with the owner.
func InspectorObjects(c Config, owner *acmetav1.OwnerReferenceApplyConfiguration) []runtime.ApplyConfiguration {
	pod := accorev1.PodSpec().
		WithServiceAccountName(Inspector).
		WithAutomountServiceAccountToken(true).
		WithSecurityContext(accorev1.PodSecurityContext().
			WithRunAsNonRoot(true).WithRunAsUser(user).WithRunAsGroup(user).
			WithSeccompProfile(accorev1.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithContainers(container(c, "inspector", c.Inspector.Resources, inspectorEnv(c)).
			WithPorts(port("health", inspectorHealth), port("metrics", inspectorMetrics)))
	annotations := map[string]string{}
	withCloud(c, pod, annotations)
	for _, name := range c.Images.PullSecrets {
		pod.WithImagePullSecrets(accorev1.LocalObjectReference().WithName(name))
	}
	c.schedule(pod)
	return []runtime.ApplyConfiguration{
		accorev1.ServiceAccount(Inspector, c.Namespace).WithLabels(labels("inspector")).WithOwnerReferences(owner).
			WithAutomountServiceAccountToken(false),
		acappsv1.Deployment(Inspector, c.Namespace).WithLabels(labels("inspector")).WithAnnotations(c.annotations()).WithOwnerReferences(owner).
			WithSpec(acappsv1.DeploymentSpec().
				WithReplicas(1).
				WithSelector(acmetav1.LabelSelector().WithMatchLabels(map[string]string{"app": Inspector})).
				WithTemplate(accorev1.PodTemplateSpec().WithLabels(labels("inspector")).WithAnnotations(annotations).WithSpec(pod))),
	}
}

// inspectorEnv is what agents/inspector reads.
func inspectorEnv(c Config) []*accorev1.EnvVarApplyConfiguration {
	env := cloudEnv(c)
	set := func(name, value string) {
		if value != "" {
			env = append(env, accorev1.EnvVar().WithName(name).WithValue(value))
		}
	}
	set("INSTANCE_ID", c.Instance)
	set("SPEEDSCALE_VERSION", c.Images.Tag)
	set("NAMESPACES", strings.Join(c.Inspector.Namespaces, ","))
	set("HEALTH_HTTP_PORT", strconv.Itoa(inspectorHealth))
	set("METRICS_HTTP_PORT", strconv.Itoa(inspectorMetrics))
	return env
}

package resource

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// pod returns the template of a component's pods, which meets the restricted level of
// Pod Security.
func (r Replay) pod(component string, c ComponentConfig, env []corev1.EnvVar) corev1.PodTemplateSpec {
	spec := corev1.PodSpec{
		AutomountServiceAccountToken: new(false),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: new(true), RunAsUser: new(int64(user)), RunAsGroup: new(int64(user)), FSGroup: new(int64(user)),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{
			Name:            "speedscale-" + component,
			Image:           r.Config.Images.Of(component),
			ImagePullPolicy: r.Config.Images.PullPolicy,
			Env:             env,
			Ports: []corev1.ContainerPort{
				{Name: "health", ContainerPort: replayHealth, Protocol: corev1.ProtocolTCP},
				{Name: "metrics", ContainerPort: replayMetrics, Protocol: corev1.ProtocolTCP},
			},
			Resources: c.Resources,
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		}},
	}
	r.withCloudCA(&spec)
	for _, name := range r.Config.Images.PullSecrets {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	r.Config.schedule(&spec)
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: r.labels(component)}, Spec: spec}
}

// withSnapshot adds the place for the snapshot, and the Secrets that transforms read.
func (r Replay) withSnapshot(pod corev1.PodTemplateSpec) corev1.PodTemplateSpec {
	spec := &pod.Spec
	mount := func(v corev1.Volume, path string, readOnly bool) {
		spec.Volumes = append(spec.Volumes, v)
		c := &spec.Containers[0]
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: path, ReadOnly: readOnly})
	}
	mount(corev1.Volume{Name: "snapshot", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}, snapshotHome, false)
	for i, name := range r.Secrets {
		mount(corev1.Volume{Name: "secret-" + strconv.Itoa(i), VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{SecretName: name, DefaultMode: new(int32(0o440))},
		}}, secretsDir+name, true)
	}
	return pod
}

// withProbes has the kubelet ask the agent whether it is ready and alive.
func withProbes(pod corev1.PodTemplateSpec) corev1.PodTemplateSpec {
	probe := func(path string) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("health")}}}
	}
	c := &pod.Spec.Containers[0]
	c.ReadinessProbe, c.LivenessProbe = probe("/readyz"), probe("/healthz")
	c.ReadinessProbe.PeriodSeconds, c.LivenessProbe.FailureThreshold = 2, 6
	return pod
}

package resource

import (
	"crypto/sha256"
	"encoding/hex"

	corev1 "k8s.io/api/core/v1"
	accorev1 "k8s.io/client-go/applyconfigurations/core/v1"
)

// Cloud is the way to it, beside address and key.
type Cloud struct {
	// CA has PEM certificates that verify it; "" means by the public ones. The entry
	// CAEntry of the ConfigMap CAConfigMap has the same.
	CA, CAConfigMap string
	// HTTPProxy, HTTPSProxy and NoProxy are as Go and curl read the variables of
	// these names, "" for a direct way.
	HTTPProxy, HTTPSProxy, NoProxy string
}

const (
	// CAEntry is the name of a file or an entry with PEM certificates, as trust-manager
	// and cert-manager have it.
	CAEntry = "ca.crt"

	caVolume = "cloud-ca"
	caDir    = "/etc/speedscale/cloud"
	// caHash on pods restarts them when the certificates are others, and keyHash when the
	// key is: they are read at the start.
	caHash  = "controlplane.speedscale.com/cloud-ca"
	keyHash = "controlplane.speedscale.com/api-key"
)

// variables are those of an agent that calls the cloud, in order, without empty ones.
func (c Cloud) variables() (list [][2]string) {
	ca := ""
	if c.CA != "" {
		ca = caDir + "/" + CAEntry
	}
	for _, v := range [][2]string{
		{"SPEEDSCALE_APP_CA", ca}, {"HTTP_PROXY", c.HTTPProxy}, {"HTTPS_PROXY", c.HTTPSProxy}, {"NO_PROXY", c.NoProxy},
	} {
		if v[1] != "" {
			list = append(list, v)
		}
	}
	return list
}

// cloudEnv is the way to the cloud, for those that have a key of their own.
func cloudEnv(c Config) (env []*accorev1.EnvVarApplyConfiguration) {
	set := func(name, value string) {
		if value != "" {
			env = append(env, accorev1.EnvVar().WithName(name).WithValue(value))
		}
	}
	secret := func(name string) {
		env = append(env, accorev1.EnvVar().WithName(name).WithValueFrom(accorev1.EnvVarSource().
			WithSecretKeyRef(accorev1.SecretKeySelector().WithName(c.APIKeySecret).WithKey(name))))
	}
	set("CLUSTER_NAME", c.Cluster)
	set("LOG_LEVEL", c.LogLevel)
	secret("SPEEDSCALE_API_KEY")
	if c.AppURL != "" {
		set("SPEEDSCALE_APP_URL", c.AppURL)
	} else {
		secret("SPEEDSCALE_APP_URL")
	}
	for _, v := range c.Cloud.variables() {
		set(v[0], v[1])
	}
	return env
}

// withCloud mounts the certificates that verify the cloud into a pod of the control plane,
// which has one container, and restarts it when they or the key are others.
func withCloud(c Config, pod *accorev1.PodSpecApplyConfiguration, annotations map[string]string) {
	if c.APIKeyHash != "" {
		annotations[keyHash] = c.APIKeyHash
	}
	if c.Cloud.CA == "" {
		return
	}
	pod.WithVolumes(accorev1.Volume().WithName(caVolume).WithConfigMap(accorev1.ConfigMapVolumeSource().
		WithName(c.Cloud.CAConfigMap).WithItems(accorev1.KeyToPath().WithKey(CAEntry).WithPath(CAEntry))))
	pod.Containers[0].WithVolumeMounts(accorev1.VolumeMount().WithName(caVolume).WithMountPath(caDir).WithReadOnly(true))
	annotations[caHash] = hash(c.Cloud.CA)
}

// withCloudCA mounts them into a pod of a replay, whose namespace has them in the
// replay's Secret only.
func (r Replay) withCloudCA(spec *corev1.PodSpec) {
	if r.Config.Cloud.CA == "" {
		return
	}
	spec.Volumes = append(spec.Volumes, corev1.Volume{Name: caVolume, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
		SecretName: r.SecretName(), DefaultMode: new(int32(0o440)), Items: []corev1.KeyToPath{{Key: CAEntry, Path: CAEntry}},
	}}})
	c := &spec.Containers[0]
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: caVolume, MountPath: caDir, ReadOnly: true})
}

// hash tells one text from another.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

package inject

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/speedscale/speedscale/cluster/annotation"
)

const (
	volumeKube = "speedscale-kube" // what clients of the Kubernetes API read in place of a service account's files

	// accountDir is where clients look for a service account's files (Kubernetes,
	// "Accessing the API from a pod"), movedDir where these are then, and kubeOutDir
	// where what stands in their place is written.
	accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"
	movedDir   = "/var/run/secrets/speedscale.com/serviceaccount"
	kubeOutDir = "/var/run/speedscale/kube"

	fileKubeCA = "kube-ca.crt" // of rootCA
	// rootCA is the ConfigMap with the API server's roots that each namespace has.
	rootCA = "kube-root-ca.crt"
)

// accountMount is the volume of a container that has a service account's files, nil for
// none.
func accountMount(c *corev1.Container) *corev1.VolumeMount {
	for i := range c.VolumeMounts {
		if strings.TrimSuffix(c.VolumeMounts[i].MountPath, "/") == accountDir {
			return &c.VolumeMounts[i]
		}
	}
	return nil
}

// kubeAccess: clients of the Kubernetes API trust one file, and it must name our CA too. A
// mount over that file alone would end when the kubelet renews the token: it then puts the
// whole directory in place anew.
func (p *patch) kubeAccess() *Refused {
	if !p.s.KubeAPI {
		return nil
	}
	found := false
	for _, c := range p.appContainers() {
		m := accountMount(c)
		if m == nil {
			continue
		}
		found = true
		if m.SubPath != "" || m.SubPathExpr != "" {
			return refused(p.w, ReasonNameTaken, "container %q mounts a part of volume %q at %s, which %s has to put elsewhere: mount the whole volume", c.Name, m.Name, accountDir, annotation.KubeAPISupport)
		}
		for _, other := range c.VolumeMounts {
			if path := strings.TrimSuffix(other.MountPath, "/"); strings.HasPrefix(path, accountDir+"/") || path == movedDir {
				return refused(p.w, ReasonNameTaken, "container %q mounts volume %q at %s, which %s needs: mount it elsewhere", c.Name, other.Name, other.MountPath, annotation.KubeAPISupport)
			}
		}
	}
	if !found {
		return refused(p.w, ReasonNotMounted, "none of its containers has the files of a service account, by which %s is seen to clients: take it out of the annotations, or set automountServiceAccountToken", annotation.KubeAPISupport)
	}
	return nil
}

// kubeFiles puts a container's service account's files elsewhere, where the kubelet goes on
// renewing them, and in their place a ca.crt with our CA and links to the others.
func (p *patch) kubeFiles(c *corev1.Container) {
	m := accountMount(c)
	if !p.s.KubeAPI || m == nil {
		return
	}
	at := m.MountPath
	m.MountPath = movedDir
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volumeKube, MountPath: at, ReadOnly: true})
}

// kubeCA has the init container of the CA write what the apps read.
func (p *patch) kubeCA(c *corev1.Container) {
	if !p.s.KubeAPI {
		return
	}
	v := variables(c.Env)
	v.set("TLS_OUT_KUBE_CA", filesDir+"/"+fileKubeCA)
	v.set("KUBE_TRUST_DIR", kubeOutDir)
	v.set("KUBE_FILES_DIR", movedDir)
	c.Env = v
	c.VolumeMounts = append(c.VolumeMounts,
		corev1.VolumeMount{Name: volumeFiles, MountPath: filesDir, ReadOnly: true},
		corev1.VolumeMount{Name: volumeKube, MountPath: kubeOutDir})
}

// kubeRoots are the API server's.
func (p *patch) kubeRoots() []corev1.VolumeProjection {
	if !p.s.KubeAPI {
		return nil
	}
	return []corev1.VolumeProjection{{ConfigMap: &corev1.ConfigMapProjection{
		LocalObjectReference: corev1.LocalObjectReference{Name: rootCA},
		Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: fileKubeCA}},
	}}}
}

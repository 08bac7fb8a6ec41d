package inject

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// Where containers find their files.
const (
	trustDir        = "/etc/ssl/speedscale" // the app's: what package trust names
	trustOutDir     = "/var/run/speedscale/trust"
	caDir           = "/etc/ssl/speedscale" // goproxy's: the CA with its key
	filesDir        = "/var/run/secrets/speedscale"
	fileToken       = "token"
	fileForwarderCA = "forwarder-ca.crt"
	fileUpstreamCA  = "upstream-ca.crt" // of the options

	// tokenLifetime is in seconds; the kubelet renews a token in time.
	tokenLifetime = 3600
)

// certificate is one of a workload's own certificates, and how goproxy is told of it.
type certificate struct {
	annotation.TLSFiles
	folder                string // below filesDir, where it comes from a Secret
	publicVar, privateVar string
	public, private       string // paths
}

func (p *patch) certificates() (found []certificate) {
	for _, c := range []certificate{
		{TLSFiles: p.s.TLSIn, folder: "tls-in", publicVar: "TLS_IN_PUBLIC_KEY", privateVar: "TLS_IN_PRIVATE_KEY"},
		{TLSFiles: p.s.TLSMutual, folder: "tls-mutual", publicVar: "TLS_MUTUAL_PUBLIC_KEY", privateVar: "TLS_MUTUAL_PRIVATE_KEY"},
	} {
		if !c.Set() {
			continue
		}
		c.public, c.private = c.Public, c.Private
		if c.Secret != "" {
			c.public = filesDir + "/" + c.folder + "/tls.crt"
			c.private = filesDir + "/" + c.folder + "/tls.key"
		}
		found = append(found, c)
	}
	return found
}

// upstreamCA says whether the pod carries the cluster's own roots.
func (p *patch) upstreamCA() bool { return p.s.TLSOut && p.o.UpstreamCA != "" }

// upstreamFiles are the files with roots that verify upstreams.
func (p *patch) upstreamFiles() (names []string) {
	if p.upstreamCA() {
		names = append(names, fileUpstreamCA)
	}
	for i := range p.s.TLSOutCA {
		names = append(names, workloadCA(i))
	}
	return names
}

func workloadCA(i int) string { return fmt.Sprintf("tls-out-ca/%d.crt", i) }

// volumes adds what our containers and the app's mount.
func (p *patch) volumes() {
	p.pod.Spec.Volumes = append(p.pod.Spec.Volumes, corev1.Volume{Name: volumeFiles, VolumeSource: corev1.VolumeSource{
		Projected: &corev1.ProjectedVolumeSource{Sources: p.files(), DefaultMode: new(int32(0o644))},
	}})
	if p.ca() {
		p.pod.Spec.Volumes = append(p.pod.Spec.Volumes, memory(volumeCA, "1Mi"), memory(volumeTrust, "8Mi"))
	}
	if p.s.KubeAPI {
		p.pod.Spec.Volumes = append(p.pod.Spec.Volumes, memory(volumeKube, "1Mi"))
	}
}

// memory is a volume that is never on a disk, and does not keep the cluster autoscaler
// from removing the node.
func memory(name, size string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
		EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: new(resource.MustParse(size))},
	}}
}

// files are what goproxy reads, in one volume that no container of the app mounts: the token that proves
// the pod to the forwarder, public certificates that the pod carries in its annotations,
// and what the workload's annotations name. Nothing is copied into its namespace. What
// they name is optional: the app starts without it, and its TLS is relayed unopened.
func (p *patch) files() []corev1.VolumeProjection {
	carried := []corev1.DownwardAPIVolumeFile{ofAnnotation(fileForwarderCA, annotation.ForwarderCA)}
	if p.upstreamCA() {
		carried = append(carried, ofAnnotation(fileUpstreamCA, annotation.UpstreamCA))
	}
	found := []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
			Audience: ForwarderAudience, ExpirationSeconds: new(int64(tokenLifetime)), Path: fileToken,
		}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: carried}},
	}
	found = append(found, p.kubeRoots()...)
	for i, ca := range p.s.TLSOutCA {
		name := corev1.LocalObjectReference{Name: ca.Name}
		items := []corev1.KeyToPath{{Key: ca.Key, Path: workloadCA(i)}}
		if ca.Kind == annotation.KindSecret {
			found = append(found, corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: name, Items: items, Optional: new(true)}})
		} else {
			found = append(found, corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: name, Items: items, Optional: new(true)}})
		}
	}
	for _, c := range p.certificates() {
		if c.Secret == "" {
			continue
		}
		found = append(found, corev1.VolumeProjection{Secret: &corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: c.Secret},
			Items:                []corev1.KeyToPath{{Key: c.Public, Path: c.folder + "/tls.crt"}, {Key: c.Private, Path: c.folder + "/tls.key"}},
			Optional:             new(true),
		}})
	}
	return found
}

func ofAnnotation(path, key string) corev1.DownwardAPIVolumeFile {
	return corev1.DownwardAPIVolumeFile{Path: path, FieldRef: &corev1.ObjectFieldSelector{
		APIVersion: "v1", FieldPath: fmt.Sprintf("metadata.annotations['%s']", key),
	}}
}

// mountOf adds the volume of the app's that holds a file, in the same place.
func (p *patch) mountOf(mounts []corev1.VolumeMount, path string) ([]corev1.VolumeMount, *Refused) {
	var best *corev1.VolumeMount
	for _, c := range p.pod.Spec.Containers {
		for i, m := range c.VolumeMounts {
			dir := strings.TrimSuffix(m.MountPath, "/")
			under := path == dir || strings.HasPrefix(path, dir+"/")
			if under && m.SubPathExpr == "" && (best == nil || len(m.MountPath) > len(best.MountPath)) {
				best = &c.VolumeMounts[i]
			}
		}
	}
	if best == nil {
		return mounts, refused(p.w, ReasonNotMounted, "none of its containers has a volume mounted that holds %s", path)
	}
	for _, m := range mounts {
		if m.MountPath != best.MountPath {
			continue
		}
		if m.Name != best.Name {
			return mounts, refused(p.w, ReasonNameTaken, "its volume %q is mounted at %s, where goproxy has its own files: mount it elsewhere", best.Name, best.MountPath)
		}
		return mounts, nil
	}
	return append(mounts, corev1.VolumeMount{Name: best.Name, MountPath: best.MountPath, SubPath: best.SubPath, ReadOnly: true}), nil
}

package resource

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	acappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	accorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	acmetav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/speedscale/speedscale/cluster/inject"
)

// Names and numbers of the forwarder.
const (
	Forwarder = "speedscale-forwarder"
	// ForwarderCerts is the Secret with its certificate and key.
	ForwarderCerts = "speedscale-forwarder-certs"
	// ForwarderPort is the port of its Service, and ForwarderHealth that at which it has
	// /telemetry too.
	ForwarderPort   = 80
	ForwarderHealth = 4144

	forwarderListen  = 8888
	forwarderMetrics = 4145
	spoolDir         = "/var/lib/speedscale/forwarder"
	certsDir         = "/etc/speedscale/tls"
	// user is that of all our pods but the sidecar's.
	user = 2100
)

// certificateHash on the pods restarts them when the certificate is another one:
// the forwarder reads it when it starts.
const certificateHash = "controlplane.speedscale.com/certificate"

// ForwarderObjects returns the forwarder, which serves with the given certificate
// (PEM, as ForwarderCerts has it). All are deleted with the owner.
func ForwarderObjects(c Config, certificate string, owner *acmetav1.OwnerReferenceApplyConfiguration) []runtime.ApplyConfiguration {
	objects := []runtime.ApplyConfiguration{
		accorev1.ServiceAccount(Forwarder, c.Namespace).WithLabels(labels("forwarder")).WithOwnerReferences(owner).
			WithAutomountServiceAccountToken(false),
	}
	if c.Forwarder.Spool.Persistent {
		objects = append(objects, forwarderClaim(c, owner))
	}
	return append(objects, forwarderDeployment(c, certificate, owner), forwarderService(c, owner))
}

func forwarderClaim(c Config, owner *acmetav1.OwnerReferenceApplyConfiguration) runtime.ApplyConfiguration {
	spec := accorev1.PersistentVolumeClaimSpec().WithAccessModes(corev1.ReadWriteOnce).
		WithResources(accorev1.VolumeResourceRequirements().WithRequests(corev1.ResourceList{corev1.ResourceStorage: c.Forwarder.Spool.Room()}))
	if class := c.Forwarder.Spool.StorageClass; class != "" {
		spec.WithStorageClassName(class)
	}
	return accorev1.PersistentVolumeClaim(Forwarder, c.Namespace).WithLabels(labels("forwarder")).WithOwnerReferences(owner).WithSpec(spec)
}

func forwarderService(c Config, owner *acmetav1.OwnerReferenceApplyConfiguration) runtime.ApplyConfiguration {
	port := func(name string, number int32) *accorev1.ServicePortApplyConfiguration {
		return accorev1.ServicePort().WithName(name).WithPort(number).WithTargetPort(intstr.FromString(name)).WithProtocol(corev1.ProtocolTCP)
	}
	spec := accorev1.ServiceSpec().WithSelector(map[string]string{"app": Forwarder}).WithPorts(port("bus", ForwarderPort))
	if c.TelemetryInterval > 0 {
		spec.WithPorts(port("health", ForwarderHealth))
	}
	return accorev1.Service(Forwarder, c.Namespace).WithLabels(labels("forwarder")).WithOwnerReferences(owner).WithSpec(spec)
}

// forwarderDeployment is recreated, not rolled: two forwarders cannot have one spool.
func forwarderDeployment(c Config, certificate string, owner *acmetav1.OwnerReferenceApplyConfiguration) runtime.ApplyConfiguration {
	pod := accorev1.PodSpec().
		WithServiceAccountName(Forwarder).
		// With its own token it asks the API server for the keys that verify the pods'.
		WithAutomountServiceAccountToken(true).
		WithSecurityContext(accorev1.PodSecurityContext().
			WithRunAsNonRoot(true).WithRunAsUser(user).WithRunAsGroup(user).WithFSGroup(user).
			WithSeccompProfile(accorev1.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithContainers(forwarderContainer(c)).
		WithVolumes(spoolVolume(c.Forwarder.Spool),
			accorev1.Volume().WithName("certs").WithSecret(accorev1.SecretVolumeSource().WithSecretName(ForwarderCerts).WithDefaultMode(0o440)))
	annotations := map[string]string{certificateHash: hash(certificate)}
	withCloud(c, pod, annotations)
	for _, name := range c.Images.PullSecrets {
		pod.WithImagePullSecrets(accorev1.LocalObjectReference().WithName(name))
	}
	c.schedule(pod)
	return acappsv1.Deployment(Forwarder, c.Namespace).WithLabels(labels("forwarder")).WithAnnotations(c.annotations()).WithOwnerReferences(owner).
		WithSpec(acappsv1.DeploymentSpec().
			WithReplicas(1).
			WithStrategy(acappsv1.DeploymentStrategy().WithType(appsv1.RecreateDeploymentStrategyType)).
			WithSelector(acmetav1.LabelSelector().WithMatchLabels(map[string]string{"app": Forwarder})).
			WithTemplate(accorev1.PodTemplateSpec().
				WithLabels(labels("forwarder")).
				WithAnnotations(annotations).
				WithSpec(pod)))
}

func spoolVolume(s Spool) *accorev1.VolumeApplyConfiguration {
	v := accorev1.Volume().WithName("spool")
	if s.Persistent {
		return v.WithPersistentVolumeClaim(accorev1.PersistentVolumeClaimVolumeSource().WithClaimName(Forwarder))
	}
	return v.WithEmptyDir(accorev1.EmptyDirVolumeSource().WithSizeLimit(s.Room()))
}

func forwarderContainer(c Config) *accorev1.ContainerApplyConfiguration {
	return container(c, "forwarder", c.Forwarder.Resources, forwarderEnv(c)).
		WithPorts(port("bus", forwarderListen), port("health", ForwarderHealth), port("metrics", forwarderMetrics)).
		WithVolumeMounts(
			accorev1.VolumeMount().WithName("spool").WithMountPath(spoolDir),
			accorev1.VolumeMount().WithName("certs").WithMountPath(certsDir).WithReadOnly(true))
}

// container is one of the control plane, with probes on its port health and what the
// restricted Pod Security level asks of a container.
func container(c Config, component string, resources corev1.ResourceRequirements, env []*accorev1.EnvVarApplyConfiguration) *accorev1.ContainerApplyConfiguration {
	probe := func(path string) *accorev1.ProbeApplyConfiguration {
		return accorev1.Probe().WithHTTPGet(accorev1.HTTPGetAction().WithPath(path).WithPort(intstr.FromString("health")))
	}
	made := accorev1.Container().
		WithName("speedscale-" + component).
		WithImage(c.Images.Of(component)).
		WithEnv(env...).
		WithReadinessProbe(probe("/readyz").WithPeriodSeconds(5)).
		WithLivenessProbe(probe("/healthz").WithFailureThreshold(6)).
		WithResources(accorev1.ResourceRequirements().WithRequests(resources.Requests).WithLimits(resources.Limits)).
		WithSecurityContext(accorev1.SecurityContext().
			WithAllowPrivilegeEscalation(false).WithReadOnlyRootFilesystem(true).
			WithCapabilities(accorev1.Capabilities().WithDrop("ALL")))
	if c.Images.PullPolicy != "" {
		made.WithImagePullPolicy(c.Images.PullPolicy)
	}
	return made
}

func port(name string, number int32) *accorev1.ContainerPortApplyConfiguration {
	return accorev1.ContainerPort().WithName(name).WithContainerPort(number).WithProtocol(corev1.ProtocolTCP)
}

// forwarderEnv is what agents/forwarder reads.
func forwarderEnv(c Config) []*accorev1.EnvVarApplyConfiguration {
	env := cloudEnv(c)
	set := func(name, value string) {
		if value != "" {
			env = append(env, accorev1.EnvVar().WithName(name).WithValue(value))
		}
	}
	set("SPEEDSCALE_FILTER_RULE", c.FilterRule)
	set("SPEEDSCALE_DLP_CONFIG", c.DLPConfig)
	set("FORWARDER_LISTEN", ":"+strconv.Itoa(forwarderListen))
	set("FORWARDER_TOKEN_AUDIENCE", inject.ForwarderAudience)
	set("FORWARDER_TLS_CERT", certsDir+"/"+corev1.TLSCertKey)
	set("FORWARDER_TLS_KEY", certsDir+"/"+corev1.TLSPrivateKeyKey)
	set("FORWARDER_SPOOL", spoolDir)
	set("FORWARDER_SPOOL_SIZE", strconv.FormatInt(c.Forwarder.Spool.Size.Value(), 10))
	if data := c.Forwarder.Data; data != nil && !*data {
		set("FORWARDER_DATA", "false")
	}
	set("TELEMETRY_INTERVAL", c.TelemetryInterval.String())
	set("WITH_TELEMETRY", strconv.FormatBool(c.WithTelemetry))
	set("SPEEDSCALE_VERSION", c.Images.Tag)
	set("HEALTH_HTTP_PORT", strconv.Itoa(ForwarderHealth))
	set("METRICS_HTTP_PORT", strconv.Itoa(forwarderMetrics))
	return env
}

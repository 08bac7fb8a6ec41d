package resource

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	acappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	accorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	acmetav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// Names of the demo. The catalogue, which java-server asks over HTTPS, is the chart's,
// in a namespace of its own.
const (
	JavaServer = "java-server"
	JavaClient = "java-client"
	// DemoCatalog is the catalogue's Service, DemoNamespace where it is and
	// DemoCerts the Secret with its certificate and key.
	DemoCatalog   = "catalog"
	DemoNamespace = "speedscale-demo"
	DemoCerts     = "catalog-certs"

	// demoCA is a ConfigMap with the catalogue's certificate, by which java-server
	// and its sidecar verify it.
	demoCA       = "java-server-ca"
	demoCAEntry  = "ca.crt"
	demoCADir    = "/etc/demo"
	demoHTTPPort = 8080
)

// DemoJava is the value of Config.Demo that has a demo.
const DemoJava = "java"

// DemoObjects returns the demo, whose catalogue serves with the given certificate (PEM).
// All are deleted with the owner.
func DemoObjects(c Config, certificate string, owner *acmetav1.OwnerReferenceApplyConfiguration) []runtime.ApplyConfiguration {
	return []runtime.ApplyConfiguration{
		accorev1.ConfigMap(demoCA, c.Namespace).WithLabels(demoLabels(JavaServer)).WithOwnerReferences(owner).
			WithData(map[string]string{demoCAEntry: certificate}),
		accorev1.Service(JavaServer, c.Namespace).WithLabels(demoLabels(JavaServer)).WithOwnerReferences(owner).
			WithSpec(accorev1.ServiceSpec().WithSelector(map[string]string{"app": JavaServer}).
				WithPorts(accorev1.ServicePort().WithName("http").WithPort(80).WithTargetPort(intstr.FromString("http")).WithProtocol(corev1.ProtocolTCP))),
		demoDeployment(c, JavaServer, javaServer(), owner).WithAnnotations(map[string]string{
			annotation.Inject:             "true",
			annotation.TLSOut:             "true",
			annotation.TLSOutCA:           "configmap/" + demoCA + "/" + demoCAEntry,
			annotation.TLSJavaToolOptions: "true",
		}),
		demoDeployment(c, JavaClient, accorev1.Container().WithEnv(accorev1.EnvVar().WithName("SERVER_URL").WithValue("http://"+JavaServer)), owner),
	}
}

// DemoLeftovers are the names of the demo's Deployments, its Service and its ConfigMap,
// for taking it away again.
func DemoLeftovers() (deployments []string, service, configMap string) {
	return []string{JavaServer, JavaClient}, JavaServer, demoCA
}

// demoLabels are not those of the control plane, whose pods are never injected.
func demoLabels(name string) map[string]string {
	return map[string]string{"app": name, "app.kubernetes.io/part-of": "speedscale-demo", "app.kubernetes.io/managed-by": Operator}
}

func javaServer() *accorev1.ContainerApplyConfiguration {
	env := func(name, value string) *accorev1.EnvVarApplyConfiguration {
		return accorev1.EnvVar().WithName(name).WithValue(value)
	}
	return accorev1.Container().
		WithEnv(env("CATALOG_URL", "https://"+DemoCatalog+"."+DemoNamespace+".svc"), env("CATALOG_CA", demoCADir+"/"+demoCAEntry), env("PORT", strconv.Itoa(demoHTTPPort))).
		WithPorts(accorev1.ContainerPort().WithName("http").WithContainerPort(demoHTTPPort).WithProtocol(corev1.ProtocolTCP)).
		WithReadinessProbe(accorev1.Probe().WithPeriodSeconds(2).
			WithHTTPGet(accorev1.HTTPGetAction().WithPath("/healthz").WithPort(intstr.FromString("http")))).
		WithVolumeMounts(accorev1.VolumeMount().WithName("ca").WithMountPath(demoCADir).WithReadOnly(true))
}

// demoDeployment completes a container and puts it into a Deployment.
func demoDeployment(c Config, name string, container *accorev1.ContainerApplyConfiguration, owner *acmetav1.OwnerReferenceApplyConfiguration) *acappsv1.DeploymentApplyConfiguration {
	container.WithName(name).WithImage(c.Images.Of(name)).
		WithResources(accorev1.ResourceRequirements().
			WithRequests(corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("20m"), corev1.ResourceMemory: resource.MustParse("96Mi")}).
			WithLimits(corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")})).
		WithSecurityContext(accorev1.SecurityContext().
			WithAllowPrivilegeEscalation(false).WithReadOnlyRootFilesystem(true).
			WithCapabilities(accorev1.Capabilities().WithDrop("ALL")))
	if c.Images.PullPolicy != "" {
		container.WithImagePullPolicy(c.Images.PullPolicy)
	}
	pod := accorev1.PodSpec().WithAutomountServiceAccountToken(false).
		WithSecurityContext(accorev1.PodSecurityContext().WithRunAsNonRoot(true).WithRunAsUser(user).WithRunAsGroup(user).
			WithSeccompProfile(accorev1.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithContainers(container)
	if name == JavaServer {
		pod.WithVolumes(accorev1.Volume().WithName("ca").WithConfigMap(accorev1.ConfigMapVolumeSource().WithName(demoCA)))
	}
	for _, secret := range c.Images.PullSecrets {
		pod.WithImagePullSecrets(accorev1.LocalObjectReference().WithName(secret))
	}
	c.schedule(pod)
	return acappsv1.Deployment(name, c.Namespace).WithLabels(demoLabels(name)).WithAnnotations(c.annotations()).WithOwnerReferences(owner).
		WithSpec(acappsv1.DeploymentSpec().WithReplicas(1).
			WithSelector(acmetav1.LabelSelector().WithMatchLabels(map[string]string{"app": name})).
			WithTemplate(accorev1.PodTemplateSpec().WithLabels(demoLabels(name)).WithSpec(pod)))
}

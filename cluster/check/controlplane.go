package check

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/speedscale/speedscale/cluster/install"
)

// component judges a Deployment of the control plane.
func (f *Facts) component(name string, d Fetched[appsv1.Deployment]) Result {
	hint := fmt.Sprintf("kubectl -n %s describe pods -l app=%s says more", f.Namespace, name)
	unready := f.Unready[name]
	switch {
	case d.Err != nil:
		return skip("%v", d.Err)
	case d.Object == nil:
		return fail("speedctl install puts it there; -n names another namespace", "there is no deployment %q in namespace %q", name, f.Namespace)
	case replicas(d.Object) == 0:
		return fail(fmt.Sprintf("kubectl -n %s scale deployment %s --replicas=1", f.Namespace, name), "it is scaled to no pods")
	case d.Object.Status.ReadyReplicas == 0 && len(unready) > 0:
		return fail(hint, "no pod is ready: %s", unready[0])
	case d.Object.Status.ReadyReplicas == 0:
		return fail(hint, "no pod is ready")
	case len(unready) > 0:
		return warn(hint, "%d of %d pods are ready, and one is not: %s", d.Object.Status.ReadyReplicas, replicas(d.Object), unready[0])
	}
	return ok("%d of %d pods are ready", d.Object.Status.ReadyReplicas, replicas(d.Object))
}

func replicas(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

func operatorReady(f *Facts) Result { return f.component(install.Operator, f.Operator) }

func forwarderReady(f *Facts) Result { return f.component(forwarderName, f.Forwarder) }

func inspectorReady(f *Facts) Result {
	if f.Inspector.Err == nil && f.Inspector.Object == nil {
		return ok("it is left out")
	}
	return f.component(inspectorName, f.Inspector)
}

// tag is the part of an image's name that says the version, "" where it has none.
func tag(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if at := strings.LastIndex(image, ":"); at > strings.LastIndex(image, "/") {
		return image[at+1:]
	}
	return ""
}

// tagOf is that of a container, "" where it is not there; the name "" takes the first one.
func tagOf(spec *corev1.PodSpec, container string) string {
	for _, c := range slices.Concat(spec.Containers, spec.InitContainers) {
		if container == "" || c.Name == container {
			return tag(c.Image)
		}
	}
	return ""
}

// release is the version that all of the control plane should have, "" where it is not known.
func (f *Facts) release() string {
	if f.Operator.Object == nil {
		return ""
	}
	return tagOf(&f.Operator.Object.Spec.Template.Spec, "")
}

func sameVersion(a, b string) bool { return strings.TrimPrefix(a, "v") == strings.TrimPrefix(b, "v") }

func operatorVersion(f *Facts) Result {
	is := f.release()
	switch {
	case f.Operator.Object == nil:
		return skip("there is no operator")
	case is == "" || f.Speedctl == "":
		return ok("not compared: a version is not known")
	case !sameVersion(is, f.Speedctl):
		return warn("speedctl upgrade brings the operator to speedctl's version", "the operator is %s, and speedctl %s", is, f.Speedctl)
	}
	return ok("%s", is)
}

func forwarderVersion(f *Facts) Result {
	is := f.release()
	if f.Forwarder.Object == nil || is == "" {
		return skip("there is no operator or no forwarder")
	}
	if got := tagOf(&f.Forwarder.Object.Spec.Template.Spec, ""); !sameVersion(got, is) {
		return warn(fmt.Sprintf("the operator rolls it out: kubectl -n %s logs deployment/%s says why it did not", f.Namespace, install.Operator),
			"the forwarder is %s, and the operator %s", got, is)
	}
	return ok("%s", is)
}

// operatorSingle: roles and webhooks are of the whole cluster, and those of the operator that
// was installed last.
func operatorSingle(f *Facts) Result {
	switch {
	case f.OperatorsError != nil:
		return skip("%v", f.OperatorsError)
	case len(f.Operators) == 0:
		return skip("there is none")
	case len(f.Operators) > 1:
		return warn(install.Several,
			"there are %d: %s", len(f.Operators), strings.Join(f.Operators, ", "))
	}
	return ok("%s", f.Operators[0])
}

func forwarderEndpoints(f *Facts) Result {
	service := f.Namespace + "/" + forwarderName
	switch n, counted := f.Endpoints[service]; {
	case f.Forwarder.Object == nil:
		return skip("there is no forwarder")
	case !counted:
		return skip("its endpoints could not be read")
	case n == 0:
		return fail(fmt.Sprintf("kubectl -n %s describe service %s says what it selects", f.Namespace, forwarderName),
			"no ready pod is behind service %q: sidecars keep what they capture as long as it fits into their memory", service)
	default:
		return ok("%d pods are behind service %q", n, service)
	}
}

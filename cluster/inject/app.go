package inject

import (
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/config/trust"
	"github.com/speedscale/speedscale/cluster/annotation"
)

// appContainers are those of the app that find goproxy running. Init containers before
// ours are not among them.
func (p *patch) appContainers() []*corev1.Container {
	var found []*corev1.Container
	spec := &p.pod.Spec
	for i := p.at; i < len(spec.InitContainers); i++ {
		found = append(found, &spec.InitContainers[i])
	}
	for i := range spec.Containers {
		found = append(found, &spec.Containers[i])
	}
	return found
}

// apps changes the app's own containers: variables and mounts are added, and none of
// theirs is replaced. What an image or envFrom sets cannot be seen here: see Overridden.
func (p *patch) apps() error {
	for _, c := range p.appContainers() {
		if r := p.extraEnv(c); r != nil {
			return r
		}
		if p.ca() {
			if r := p.trust(c); r != nil {
				return r
			}
		}
		p.kubeFiles(c)
		if !p.transparent() {
			if r := p.ownProxy(c); r != nil {
				return r
			}
		}
		if p.s.Type == config.ModeForward || p.s.Type == config.ModeDual {
			p.proxyEnv(c)
		}
	}
	return nil
}

func (p *patch) extraEnv(c *corev1.Container) *Refused {
	for _, e := range p.s.ExtraEnv {
		if env(c, e.Name) != nil {
			return refused(p.w, ReasonEnvTaken, "container %q has the variable %s, which %s sets too", c.Name, e.Name, annotation.ExtraContainerEnvVars)
		}
		setEnv(c, e.Name, e.Value)
	}
	return nil
}

// elsewhere stands for the value of a variable that is not in the template.
const elsewhere = "(elsewhere)"

// trust makes the programs of a container trust the CA besides the usual roots.
func (p *patch) trust(c *corev1.Container) *Refused {
	var present []string
	for _, e := range c.Env {
		value := e.Value
		if e.ValueFrom != nil {
			value = elsewhere
		}
		present = append(present, e.Name+"="+value)
	}
	for _, kv := range trust.Env(trustDir, present) {
		name, value, _ := strings.Cut(kv, "=")
		if old := env(c, name); old == nil || old.ValueFrom == nil {
			setEnv(c, name, value)
		}
	}
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volumeTrust, MountPath: trustDir, ReadOnly: true})
	return p.javaEnv(c)
}

const (
	javaToolOptions = "JAVA_TOOL_OPTIONS"
	// jdkJavaOptions is read by the java launcher too, since JDK 9 (The java Command,
	// "Using the JDK_JAVA_OPTIONS Launcher Environment Variable").
	jdkJavaOptions = "JDK_JAVA_OPTIONS"
)

// javaEnv makes the JVM trust the CA, where that is asked for and wherever something is
// mocked. Unasked it leaves JAVA_TOOL_OPTIONS alone where the container has none: an image
// may have it, which cannot be seen here, and a replay is of the JVM as it is.
func (p *patch) javaEnv(c *corev1.Container) *Refused {
	if value := p.s.JavaToolOptionsValue; value != "" {
		// The owner's word for the whole value, as documented.
		if old := env(c, javaToolOptions); old != nil {
			old.ValueFrom = nil
		}
		setEnv(c, javaToolOptions, value)
		return nil
	}
	if !p.s.JavaToolOptions && !p.mocks() {
		return nil
	}
	name, value := javaToolOptions, trust.JavaOptions(trustDir)
	if !p.s.JavaToolOptions && env(c, name) == nil {
		name = jdkJavaOptions
	}
	if old := env(c, name); old != nil {
		if old.ValueFrom != nil || strings.Contains(old.Value, "-Djavax.net.ssl.trustStore=") {
			if !p.s.JavaToolOptions {
				return nil // nobody asked for it, and mocks without TLS do not need it
			}
			return refused(p.w, ReasonEnvTaken, "%s of container %q has a trust store of its own or is set from elsewhere, so that %s cannot add to it: use %s",
				name, c.Name, annotation.TLSJavaToolOptions, annotation.TLSJavaToolOptionsValue)
		}
		value = strings.TrimSpace(old.Value + " " + value)
	}
	setEnv(c, name, value)
	return nil
}

// proxyEnv leads a container's programs to goproxy where they look at the usual
// variables. A container that has one in either case keeps it.
func (p *patch) proxyEnv(c *corev1.Container) {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(p.s.OutPort)))
	variables := []string{"HTTP_PROXY", "HTTPS_PROXY"}
	url := "http://" + address
	if strings.HasSuffix(p.s.Protocol, "socks") {
		variables = append(variables, "ALL_PROXY")
		url = "socks5h://" + address // names are resolved by goproxy, which records them
	}
	values := map[string]string{"NO_PROXY": "localhost,127.0.0.1,::1"}
	for _, name := range variables {
		values[name] = url
	}
	for _, name := range append(variables, "NO_PROXY") {
		lower := strings.ToLower(name)
		if env(c, name) == nil && env(c, lower) == nil {
			setEnv(c, name, values[name])
			setEnv(c, lower, values[name])
		}
	}
	if name := "NODE_USE_ENV_PROXY"; env(c, name) == nil {
		setEnv(c, name, "1")
	}
}

// env returns the variable of a container, nil where it has none of that name. Of
// several the last counts.
func env(c *corev1.Container, name string) *corev1.EnvVar {
	for i := len(c.Env) - 1; i >= 0; i-- {
		if c.Env[i].Name == name {
			return &c.Env[i]
		}
	}
	return nil
}

func setEnv(c *corev1.Container, name, value string) {
	if old := env(c, name); old != nil {
		old.Value = value
		return
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: value})
}

// movePorts takes the names of the port that goproxy stands before (reverse and dual
// mode) from the app's containers and returns them: a Service whose targetPort is a name
// then leads to goproxy. One whose targetPort is a number leads to the app still, and
// has to be given goproxy's. The containers' own probes go on by number.
func (p *patch) movePorts() (names []string) {
	ip := net.ParseIP(p.s.Host)
	if p.transparent() || !p.inbound() || p.s.Host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil
	}
	for i := range p.pod.Spec.Containers {
		c := &p.pod.Spec.Containers[i]
		for j := range c.Ports {
			port := &c.Ports[j]
			tcp := port.Protocol == "" || port.Protocol == corev1.ProtocolTCP
			if port.Name == "" || !tcp || port.ContainerPort != int32(p.s.Port) {
				continue
			}
			names = append(names, port.Name)
			useNumber(c, port.Name, port.ContainerPort)
			port.Name = ""
		}
	}
	return names
}

// useNumber replaces a port's name in the probes and hooks of its container.
func useNumber(c *corev1.Container, name string, number int32) {
	replace := func(port *intstr.IntOrString) {
		if *port == intstr.FromString(name) {
			*port = intstr.FromInt32(number)
		}
	}
	handlers := func(get *corev1.HTTPGetAction, socket *corev1.TCPSocketAction) {
		if get != nil {
			replace(&get.Port)
		}
		if socket != nil {
			replace(&socket.Port)
		}
	}
	for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if probe != nil {
			handlers(probe.HTTPGet, probe.TCPSocket)
		}
	}
	if c.Lifecycle == nil {
		return
	}
	for _, hook := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
		if hook != nil {
			handlers(hook.HTTPGet, hook.TCPSocket)
		}
	}
}

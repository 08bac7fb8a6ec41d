package reference

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/agents/config"
)

// object is what has ports, of any kind.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Ports    []port
		Template *struct{ Spec podSpec }
		podSpec  `json:",inline"`
	}
}

type podSpec struct{ Containers []container }

type container struct {
	Name  string
	Ports []port
}

type port struct {
	Name          string
	Port          int
	ContainerPort int
	TargetPort    any
	Protocol      string
}

// ports are those of the charts' objects with their default values, and of the objects that
// the operator makes, which are in the golden files of its tests.
func ports() (string, error) {
	var manifests []string
	for _, name := range []string{"speedscale-operator", "speedscale-cloud"} {
		all, err := rendered(name)
		if err != nil {
			return "", err
		}
		manifests = append(manifests, all...)
	}
	for _, name := range []string{"forwarder", "inspector", "demo", "replay-collector", "replay-generator", "replay-responder"} {
		text, err := os.ReadFile(filepath.Join(root, "operator/resource/testdata", name+".yaml"))
		if err != nil {
			return "", err
		}
		manifests = append(manifests, strings.Split(string(text), "\n---\n")...)
	}
	rows := map[string][4]string{}
	for _, text := range manifests {
		var o object
		if err := yaml.Unmarshal([]byte(text), &o); err != nil {
			return "", err
		}
		for _, p := range o.Spec.Ports {
			if o.Kind == "Service" {
				r := [4]string{o.Metadata.Name, "Service", fmt.Sprint(p.Port), cmp.Or(p.Name, "") + fmt.Sprintf(" → %v", p.TargetPort)}
				rows[strings.Join(r[:], " ")] = r
			}
		}
		pod := o.Spec.podSpec
		if o.Spec.Template != nil {
			pod = o.Spec.Template.Spec
		}
		for _, c := range pod.Containers {
			for _, p := range c.Ports {
				r := [4]string{c.Name, "container", fmt.Sprint(p.ContainerPort), p.Name}
				rows[strings.Join(r[:], " ")] = r
			}
		}
	}
	if len(rows) < 10 {
		return "", fmt.Errorf("only %d ports are found", len(rows))
	}
	t := newTable("of", "", "port", "name")
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		r := rows[key]
		t.row(r[0], r[1], r[2], r[3])
	}
	side := newTable("port of `speedscale-goproxy`", "", "annotation")
	for _, p := range []struct {
		port             int
		text, annotation string
	}{
		{config.ProxyInPort, "inbound connections", "proxy-in-port"},
		{config.ProxyOutPort, "outbound connections; proxy for HTTP and SOCKS5 in forward and dual mode", "proxy-out-port"},
		{config.ProxyHealthPort, "health: /healthz, /readyz", ""},
		{config.ProxyMetricsPort, "metrics", "prometheus-port"},
		{config.ProxyDNSPort, "the app's DNS queries, on loopback, with host-resolution smart", ""},
	} {
		side.row(fmt.Sprint(p.port), p.text, code(p.annotation))
	}
	return "# Ports\n\nAll are TCP, but for DNS, which is UDP too. Nothing listens for the cloud: agents dial out to it.\n\n" +
		"## In injected pods\n\n" + side.String() +
		"\nThe sidecar runs as user " + fmt.Sprint(config.ProxyUID) + ".\n" +
		"\n## Of our own objects\n\n" + t.String() + "\nWho may connect to whom is in [network flows](../network.md).\n", nil
}

// rendered are a chart's objects with its default values.
func rendered(name string) (list []string, err error) {
	c, err := loader.LoadDir(filepath.Join(root, "charts", name))
	if err != nil {
		return nil, err
	}
	values, err := chartutil.ToRenderValues(c, nil, chartutil.ReleaseOptions{Name: name, Namespace: "speedscale"}, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(c, values)
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(file, ".yaml") {
			list = append(list, strings.Split(files[file], "\n---")...)
		}
	}
	return list, err
}

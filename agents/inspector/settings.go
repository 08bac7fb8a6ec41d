package inspector

import (
	"fmt"
	"net"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/bus"
)

// Settings are what the binary reads from its environment.
type Settings struct {
	// Cloud says how the cloud's bus is reached, and KeyID is of the key in it.
	Cloud bus.ConnectOptions
	KeyID string
	// Cluster, Instance, Version and Namespaces are as in Options.
	Cluster, Instance, Version string
	Namespaces                 []string
	// HealthListen and MetricsListen are host:port.
	HealthListen, MetricsListen string
}

// ReadSettings reads everything that the binary is told, and nothing else reads the
// environment, but for what bus.ReadCloud reads. An error names each variable that is
// wrong.
//
//	CLUSTER_NAME           what the cluster is called
//	INSTANCE_ID            the operator's name, CLUSTER_NAME without it
//	SPEEDSCALE_API_KEY     opens the cloud's bus (scope control)
//	SPEEDSCALE_VERSION     shown to people
//	NAMESPACES             the only ones, between commas; all without it
//	HEALTH_HTTP_PORT       4144; METRICS_HTTP_PORT 4145
//	HTTPS_PROXY, NO_PROXY  the way to the cloud
func ReadSettings(v *agent.Vars) (Settings, error) {
	s := Settings{
		Cloud:         bus.ReadCloud(v, "the cloud commands inspectors with a known key only"),
		Cluster:       v.String("CLUSTER_NAME", ""),
		Version:       v.String("SPEEDSCALE_VERSION", "unknown"),
		Namespaces:    v.List("NAMESPACES"),
		HealthListen:  net.JoinHostPort("", fmt.Sprint(v.Port("HEALTH_HTTP_PORT", 4144))),
		MetricsListen: net.JoinHostPort("", fmt.Sprint(v.Port("METRICS_HTTP_PORT", 4145))),
	}
	if s.Cluster == "" {
		v.Missing("CLUSTER_NAME", "commands are given to a cluster by its name")
	}
	s.Instance = v.String("INSTANCE_ID", s.Cluster)
	s.Cloud.Name = "inspector " + s.Cluster
	if s.Cloud.Token != "" {
		var err error
		if s.KeyID, err = bus.KeyID(s.Cloud.Token); err != nil {
			v.Fail("SPEEDSCALE_API_KEY", "…", err.Error())
		}
	}
	return s, v.Err()
}

// Command operator injects sidecars into annotated workloads and keeps the control
// plane of a cluster.
package main

import (
	"os"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/operator/manager"
)

func main() { os.Exit(agent.Main("operator", manager.Main)) }

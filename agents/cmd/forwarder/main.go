// Command forwarder takes pairs from the proxies of a cluster, masks them, and
// sends them to the cloud.
package main

import (
	"os"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/forwarder"
)

func main() { os.Exit(agent.Main("forwarder", forwarder.Main)) }

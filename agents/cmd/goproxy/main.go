// Command goproxy is the capturing sidecar.
package main

import (
	"os"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/goproxy"
)

func main() { os.Exit(agent.Main("goproxy", goproxy.Main)) }

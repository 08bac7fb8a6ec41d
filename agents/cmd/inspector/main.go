// Command inspector carries out a few commands in its cluster that the cloud gives,
// over a connection that it opens itself.
package main

import (
	"os"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/inspector"
)

func main() { os.Exit(agent.Main("inspector", inspector.Main)) }

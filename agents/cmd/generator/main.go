// Command generator sends the recorded requests of a snapshot to a workload
// under test and writes a report.
package main

import (
	"os"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/generator"
)

func main() { os.Exit(agent.Main("generator", generator.Main)) }

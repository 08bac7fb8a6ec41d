// Command collector gathers logs, events, CPU and memory of a workload during a
// replay.
package main

import (
	"os"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/collector"
)

func main() { os.Exit(agent.Main("collector", collector.Main)) }

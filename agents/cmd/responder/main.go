// Command responder answers requests with the recorded responses of a snapshot.
package main

import (
	"os"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/responder"
)

func main() { os.Exit(agent.Main("responder", responder.Main)) }

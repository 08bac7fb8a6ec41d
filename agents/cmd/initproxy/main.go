// Command initproxy redirects the connections of a pod to goproxy (transparent
// mode). It runs once, before the app, with the capability NET_ADMIN.
package main

import (
	"context"
	"os"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/initproxy"
)

func main() {
	os.Exit(agent.Main("initproxy", func(ctx context.Context, env *agent.Env) error {
		return initproxy.Run(ctx, env, os.Stdout)
	}))
}

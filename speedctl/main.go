// Speedctl captures, masks, keeps and replays the traffic of running workloads.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/speedscale/speedscale/speedctl/command"
	"github.com/speedscale/speedscale/speedctl/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command.Execute(ctx, term.System(), os.Args[1:])
	stop()
	os.Exit(code)
}

// Bench measures our agents beside haproxy, nginx and wrk, in one run on this
// machine, and prints each figure with its goal. CPU comes from the processes' own
// accounting, so that a noisy machine does not decide; compare by ratio only.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// Package initproxy sets the nftables rules of transparent mode: connections to
// and from the app, and its DNS queries, go to goproxy. All rules are in one table
// of their own (inet speedscale), set as a whole and removed as a whole.
package initproxy

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/speedscale/speedscale/agents/agent"
)

// lookupTimeout bounds the look-ups of ignored hosts together.
const lookupTimeout = 10 * time.Second

// Run applies the rules that the environment asks for; with --print it writes them
// to out in the syntax of nft(8) instead, with --remove it takes them away.
//
// Rules that cannot be applied are no error, so that the app starts all the same: its
// traffic is not captured then, and the container's termination message says why. In a
// replay they are one, since mocked hosts would be the real ones.
func Run(ctx context.Context, env *agent.Env, out io.Writer) error {
	flags := flag.NewFlagSet(env.Name, flag.ContinueOnError)
	flags.SetOutput(out)
	remove := flags.Bool("remove", false, "remove the rules")
	show := flags.Bool("print", false, "print the rules in the syntax of nft(8), and apply nothing")
	if err := flags.Parse(env.Args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("argument %q: %s takes flags only, and its settings from the environment", flags.Arg(0), env.Name)
	}
	if *remove {
		if err := Remove(); err != nil {
			return err
		}
		env.Log.Info("rules removed", "table", Table)
		return nil
	}
	s, err := ReadSettings(env.Vars)
	if err != nil {
		return err
	}
	if *show {
		if err := s.complete(ctx, env.Log); err != nil {
			return err
		}
		_, err := io.WriteString(out, Print(s))
		return err
	}
	err = s.complete(ctx, env.Log)
	if err == nil {
		err = Apply(s)
	}
	switch {
	case err == nil:
		env.Log.Info("rules applied", "table", Table, "rules", len(rules(s)))
		return nil
	case s.Replay:
		return err
	}
	env.Log.Error("rules not applied, the pod's traffic is not captured", "error", err)
	if err := say(s.TerminationLog, "the pod's traffic is not captured: "+err.Error()); err != nil {
		env.Log.Warn("no termination message", "error", err)
	}
	return nil
}

// complete fills in what is to be found out here: the node's addresses, and those of
// ignored hosts.
func (s *Settings) complete(ctx context.Context, log *slog.Logger) error {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("addresses of this pod: %w", err)
	}
	if err := errors.Join(s.checkNetwork(own), s.leaveNodeAlone()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	for _, host := range s.resolve(ctx, net.DefaultResolver.LookupNetIP) {
		log.Warn("ignored host has no address, so its connections are captured", "host", host)
	}
	return nil
}

// say writes the container's termination message, where there is a file for it.
func say(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

package command

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/speedctl/term"
)

type initFlags struct {
	appURL, busURL, ca, name string
}

func newInit(g *global) *cobra.Command {
	var f initFlags
	c := &cobra.Command{
		Use:     "init",
		Aliases: []string{"initialize", "bootstrap"},
		Short:   "Set speedctl up: a cloud on this machine, or the address and key of another",
		Long: `Without --app-url, init makes the cloud of this machine and prints its first API key; speedctl keeps the
key in its configuration and uses it by itself. With --app-url it adds a context for a cloud that runs
elsewhere, after calling it with the key.`,
		Example: `  speedctl init
  speedctl init --app-url https://speedscale.example.com --api-key "$KEY" --name team`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return runInit(c.Context(), g, f) },
	}
	c.Flags().StringVar(&f.appURL, "app-url", "", "address of a cloud's API")
	c.Flags().StringVar(&f.busURL, "bus-url", "", "address of that cloud's bus (default: wss:// and the host of --app-url)")
	c.Flags().StringVar(&f.ca, "ca", "", "PEM file with roots that verify that cloud, beside the system's")
	c.Flags().StringVar(&f.name, "name", "cloud", "name of the new context")
	return c
}

func runInit(ctx context.Context, g *global, f initFlags) error {
	dir, err := g.dir()
	if err != nil {
		return err
	}
	if f.appURL == "" {
		key, err := client.InitLocal(ctx, dir, g.logger())
		if err != nil {
			return err
		}
		if key == "" {
			g.Sayf("%s is initialized already; the cloud's data is in %s", dir, dir.LocalCloud())
			return nil
		}
		g.Sayf("The cloud of this machine is in %s. Its API key, shown this once and kept for speedctl in its configuration:", dir.LocalCloud())
		_, err = fmt.Fprintln(g.Out, key)
		return err
	}
	key := g.apiKey
	if key == "" {
		key = g.Getenv("SPEEDSCALE_API_KEY")
	}
	if key == "" {
		return term.WithCode(term.WithHint(fmt.Errorf("no API key for %q", f.appURL), "give --api-key or set SPEEDSCALE_API_KEY"), term.ExitUsage)
	}
	if f.ca != "" { // it is read in other folders too
		if f.ca, err = filepath.Abs(f.ca); err != nil {
			return err
		}
	}
	err = client.InitRemote(ctx, dir, home.Context{Name: f.name, AppURL: f.appURL, BusURL: f.busURL, APIKey: key, CA: f.ca})
	if err != nil {
		return err
	}
	g.Sayf("%s answers; context %q is the current one.", f.appURL, f.name)
	return nil
}

// Package command has the commands of speedctl, a file each. A command is flags
// and one call into a library.
package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/speedctl/term"
)

// global is what the flags of the root command say, and the world.
type global struct {
	*term.World
	home    string
	context string
	apiKey  string
	verbose int
	kube    kubeFlags
}

// Execute runs speedctl with args and returns its exit code.
func Execute(ctx context.Context, w *term.World, args []string) int {
	root := New(w)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = term.WithCode(errors.New("interrupted"), term.ExitCanceled)
	}
	if err == nil {
		return term.ExitOK
	}
	return w.Fail(err)
}

// New returns the root command.
func New(w *term.World) *cobra.Command {
	g := &global{World: w, kube: newKubeFlags()}
	root := &cobra.Command{
		Use:   "speedctl",
		Short: "Capture, mask, keep and replay the traffic of running workloads",
		Long: `Speedctl captures the requests that a service receives and those it sends to its dependencies,
masks what is secret, keeps the rest, and replays it against a new version of the service while
the dependencies are mocked. A report says what changed and how fast it was.`,
		Example: `  speedctl demo
  speedctl capture shop 8080 -- ./shop
  speedctl create snapshot --name checkout --start 15m
  speedctl replay checkout --test-against http://localhost:8080 -- ./shop`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(w.In)
	root.SetOut(w.Out)
	root.SetErr(w.Err)
	root.SetFlagErrorFunc(flagError)
	flags := root.PersistentFlags()
	flags.StringVar(&g.home, "home", "", "folder for contexts, keys and local data (default SPEEDSCALE_HOME or ~/.speedscale)")
	flags.StringVarP(&g.context, g.contextFlag(), "c", "", "context to use instead of the current one")
	flags.StringVar(&g.apiKey, "api-key", "", "API key to use instead of SPEEDSCALE_API_KEY and the context's")
	flags.CountVarP(&g.verbose, "verbose", "v", "say more on standard error; twice for debugging")
	flags.BoolVarP(&g.Quiet, "quiet", "q", false, "no talk on standard error, errors only")
	g.kube.addTo(root, g.Plugin())
	root.AddCommand(
		newInit(g), newCapture(g), newMock(g), newReplay(g), newDemo(g), newTap(g),
		newCreate(g), newGet(g), newPull(g), newPush(g), newDelete(g),
		newInstall(g), newUpgrade(g), newUninstall(g), newInject(g), newUninject(g), newInfra(g), newWait(g), newCheck(g), newWhy(g),
		newConfig(g), newExplain(g), newCompletion(g), newVersion(g), newDemoShop(g),
	)
	group(root)
	addHelp(root)
	complete(g, root)
	asPlugin(g.World, root)
	return root
}

// addHelp has cobra make the command help now, and gives it an example.
func addHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Example = "  speedctl help get snapshot"
		}
	}
}

// group makes a command that only has others below it: alone it shows its help,
// and a name that it does not know is a usage error.
func group(c *cobra.Command) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.SuggestionsMinimumDistance = 2
	c.RunE = func(c *cobra.Command, a []string) error {
		if len(a) == 0 {
			return c.Help()
		}
		err := fmt.Errorf("unknown command %q for %q", a[0], c.CommandPath())
		hint := c.CommandPath() + " --help lists them"
		if near := c.SuggestionsFor(a[0]); len(near) > 0 {
			hint = "did you mean " + strings.Join(near, " or ") + "?"
		}
		return term.WithCode(term.WithHint(err, hint), term.ExitUsage)
	}
	return c
}

// flagError says what flag may have been meant.
func flagError(c *cobra.Command, err error) error {
	hint := c.CommandPath() + " --help lists the flags"
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && len(unknown.GetSpecifiedName()) > 1 {
		known := &cobra.Command{SuggestionsMinimumDistance: 2} // cobra knows what is near by commands only
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				known.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
			}
		})
		if near := known.SuggestionsFor(unknown.GetSpecifiedName()); len(near) > 0 {
			hint = "did you mean --" + strings.Join(near, " or --") + "?"
		}
	}
	return term.WithCode(term.WithHint(err, hint), term.ExitUsage)
}

// logger writes the agents' messages to standard error: warnings, with -v more.
func (g *global) logger() *slog.Logger {
	level := slog.LevelWarn
	switch {
	case g.verbose > 1:
		level = slog.LevelDebug
	case g.verbose == 1:
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(g.Talk(), &slog.HandlerOptions{Level: level}))
}

func (g *global) dir() (home.Dir, error) {
	d, err := home.Locate(g.home, g.Getenv)
	return d, term.WithCode(err, term.ExitUsage)
}

// connect reaches the cloud that is meant, starting the local one where it is that.
func (g *global) connect(ctx context.Context) (*client.Client, error) {
	o, err := g.cloudOptions()
	if err != nil {
		return nil, err
	}
	return g.reach(ctx, o)
}

// cloudOptions say which cloud is meant: that of the context which -c names, else the
// one in the cluster that --kube-context or --kubeconfig name, else the current
// context's. No cluster is asked that the user did not name.
func (g *global) cloudOptions() (client.Options, error) {
	dir, err := g.dir()
	if err != nil {
		return client.Options{}, err
	}
	o := client.Options{Home: dir, Context: g.context, APIKey: g.apiKey, KeyFrom: "--api-key", Logger: g.logger(), Say: g.Sayf}
	if o.APIKey == "" {
		o.APIKey, o.KeyFrom = g.Getenv("SPEEDSCALE_API_KEY"), "SPEEDSCALE_API_KEY"
	}
	if g.context == "" && g.kube.named() {
		cluster, err := g.kube.cluster()
		if err != nil {
			return client.Options{}, err
		}
		o.Cluster = &cluster
	}
	return o, nil
}

// withCloud runs do with a connection to the cloud, and closes it.
func (g *global) withCloud(ctx context.Context, do func(*client.Client) error) error {
	c, err := g.connect(ctx)
	if err != nil {
		return err
	}
	return errors.Join(do(c), c.Close())
}

// args makes cobra's argument checks usage errors.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, a []string) error {
		return term.WithCode(term.WithHint(check(c, a), "usage: "+c.UseLine()), term.ExitUsage)
	}
}

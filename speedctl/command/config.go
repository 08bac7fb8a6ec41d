package command

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/speedctl/term"
)

func newConfig(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Show and change the contexts, which say what cloud is meant",
		Long: `A context is a cloud and how to reach it: the one of this machine, one in a cluster, or one at an address. init and
install make contexts. The current one is meant where -c names no other.`,
		Example: `  speedctl config get-contexts
  speedctl config use-context local`,
	}
	c.AddCommand(newGetContexts(g), newCurrentContext(g), newUseContext(g), newDeleteContext(g))
	return group(c)
}

// contextView is a context as it is printed: without its key.
type contextView struct {
	Name    string        `json:"name"`
	Current bool          `json:"current"`
	AppURL  string        `json:"app-url,omitempty"`
	CA      string        `json:"ca,omitempty"`
	Cluster *home.Cluster `json:"cluster,omitempty"`
}

// cloud says where the cloud is.
func (v contextView) cloud() string {
	switch {
	case v.AppURL != "":
		return v.AppURL
	case v.Cluster != nil:
		return fmt.Sprintf("cluster %s, namespace %s", cmp.Or(v.Cluster.KubeContext, "of the kubeconfig"), v.Cluster.Namespace)
	}
	return "this machine"
}

func newGetContexts(g *global) *cobra.Command {
	out := printer.NewFlag(printer.Table, printer.JSON, printer.YAML, printer.Name)
	c := &cobra.Command{
		Use:     "get-contexts [NAME]",
		Aliases: []string{"contexts"},
		Short:   "List the contexts, or show one",
		Example: `  speedctl config get-contexts
  speedctl config get-contexts local -o yaml`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, a []string) error {
			_, cfg, err := g.contexts()
			if err != nil {
				return err
			}
			list := cfg.Contexts
			if len(a) == 1 {
				x, err := cfg.Context(a[0])
				if err != nil {
					return noContext(err)
				}
				list = []home.Context{*x}
			}
			return printContexts(g, out, list, cfg.CurrentContext)
		},
	}
	c.Flags().VarP(out, "output", "o", "form of the output")
	return c
}

func printContexts(g *global, out *printer.Flag, list []home.Context, current string) error {
	views := make([]contextView, len(list))
	rows := [][]string{{"CURRENT", "NAME", "CLOUD"}}
	for i, x := range list {
		v := contextView{x.Name, x.Name == current, x.AppURL, x.CA, x.Cluster}
		views[i] = v
		rows = append(rows, []string{map[bool]string{true: "*"}[v.Current], v.Name, v.cloud()})
	}
	if done, err := out.Encode(g.Out, views); done {
		return err
	}
	if out.Format == printer.Name {
		for _, v := range views {
			fmt.Fprintln(g.Out, v.Name)
		}
		return nil
	}
	return printer.Rows(g.Out, rows)
}

func newCurrentContext(g *global) *cobra.Command {
	return &cobra.Command{
		Use:     "current-context",
		Short:   "Print the name of the current context",
		Example: "  speedctl config current-context",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, cfg, err := g.contexts()
			if err != nil {
				return err
			}
			if cfg.CurrentContext == "" {
				return noContext(errors.New("no context is the current one"))
			}
			_, err = fmt.Fprintln(g.Out, cfg.CurrentContext)
			return err
		},
	}
}

func newUseContext(g *global) *cobra.Command {
	return &cobra.Command{
		Use:     "use-context NAME",
		Aliases: []string{"use"},
		Short:   "Make a context the current one",
		Example: "  speedctl config use-context local",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, a []string) error {
			dir, cfg, err := g.contexts()
			if err != nil {
				return err
			}
			if _, err := cfg.Context(a[0]); err != nil {
				return noContext(err)
			}
			cfg.CurrentContext = a[0]
			if err := dir.Save(cfg); err != nil {
				return err
			}
			g.Sayf("context %q is the current one", a[0])
			return nil
		},
	}
}

func newDeleteContext(g *global) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "delete-context NAME",
		Short: "Forget a context and its key; its cloud stays as it is",
		Long: `The cloud of the context, with all it has captured, stays as it is. Where the context is the current one, none is
afterwards, until use-context names another. The key of the local cloud is kept nowhere else, so that --force is needed there.`,
		Example: "  speedctl config delete-context team",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, a []string) error {
			dir, cfg, err := g.contexts()
			if err != nil {
				return err
			}
			if a[0] == home.Local && !force {
				err := fmt.Errorf("the key of the cloud in %q is kept in context %q only, and would be lost", dir.LocalCloud(), a[0])
				return term.WithCode(term.WithHint(err, "--force deletes the context; use-context makes another the current one"), term.ExitUsage)
			}
			was := cfg.CurrentContext
			if err := cfg.Delete(a[0]); err != nil {
				return noContext(err)
			}
			if err := dir.Save(cfg); err != nil {
				return err
			}
			g.Sayf("deleted context %q", a[0])
			if was == a[0] {
				g.Warnf("it was the current one: %s config use-context names another", g.Command())
			}
			return nil
		},
	}
	c.Flags().BoolVar(&force, "force", false, "delete the local context too")
	return c
}

// contexts reads the configuration, which is empty before there is one.
func (g *global) contexts() (home.Dir, *home.Config, error) {
	dir, err := g.dir()
	if err != nil {
		return "", nil, err
	}
	cfg, err := dir.Load()
	if errors.Is(err, home.ErrNotInitialized) {
		return dir, &home.Config{}, nil
	}
	return dir, cfg, err
}

func noContext(err error) error {
	return term.WithCode(term.WithHint(err, "speedctl config get-contexts lists them; speedctl init and speedctl install make some"), term.ExitNotFound)
}

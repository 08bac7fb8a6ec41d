package command

import (
	"github.com/spf13/cobra"

	"github.com/speedscale/speedscale/speedctl/term"
)

// asPlugin has help, usage and examples name commands as kubectl runs them. The rest of
// kubectl's protocol for plugins is completions/kubectl_complete-speedscale.
func asPlugin(w *term.World, root *cobra.Command) {
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: w.Command()}
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		c.Example = w.Commands(c.Example)
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(root)
}

package command

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/speedscale/speedscale/speedctl/printer"
)

// version is set by the linker.
var version = "" //nolint:gochecknoglobals // -ldflags -X needs a variable

type versionInfo struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersion(g *global) *cobra.Command {
	out := printer.NewFlag(printer.Table, printer.JSON, printer.YAML)
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  speedctl version -o json",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			v := versionInfo{Version: buildVersion(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if done, err := out.Encode(g.Out, v); done {
				return err
			}
			_, err := fmt.Fprintf(g.Out, "speedctl %s (%s, %s)\n", v.Version, v.Go, v.Platform)
			return err
		},
	}
	c.Flags().VarP(out, "output", "o", "form of the output")
	return c
}

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "dev"
}

package command

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/cloud/auth"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/speedctl/printer"
)

// scripts write the completion of each shell.
func scripts(root *cobra.Command) map[string]func(io.Writer) error {
	return map[string]func(io.Writer) error{
		"bash":       func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"zsh":        root.GenZshCompletion,
		"fish":       func(w io.Writer) error { return root.GenFishCompletion(w, true) },
		"powershell": root.GenPowerShellCompletionWithDesc,
	}
}

func newCompletion(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a script by which a shell completes commands, flags, and names in the cloud and the cluster",
		Long: `The script is sourced by the shell, or kept where the shell looks for such scripts:

  bash        source <(speedctl completion bash), or /usr/share/bash-completion/completions/speedctl; needs bash-completion
  zsh         speedctl completion zsh > "${fpath[1]}/_speedctl"
  fish        speedctl completion fish > ~/.config/fish/completions/speedctl.fish
  powershell  speedctl completion powershell | Out-String | Invoke-Expression

For kubectl speedscale, kubectl's own completion asks kubectl_complete-speedscale, an executable in the PATH.`,
		Example: `  speedctl completion bash
  speedctl completion zsh`,
		Args:      args(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		ValidArgs: []cobra.Completion{"bash", "zsh", "fish", "powershell"},
		RunE: func(c *cobra.Command, a []string) error {
			return scripts(c.Root())[a[0]](g.Out)
		},
	}
}

// argument is how arguments of a command are completed: what there is of them, and
// how many, 0 for any number. Files are completed too where a file may be meant.
type argument struct {
	list  lister
	most  int
	files bool
}

// arguments say it by a command's path, below the root. A command that takes arguments
// and is not here completes files.
func arguments() map[string]argument {
	return map[string]argument{
		"capture":               {most: 2},
		"mock":                  {list: snapshotNames, most: 1, files: true},
		"replay":                {list: replayed, files: true},
		"get snapshot":          {list: snapshotNames, most: 1},
		"get report":            {list: reportNames, most: 1},
		"get test-configs":      {list: testConfigNames, most: 1},
		"get replays":           {list: replayNames, most: 1},
		"get traffic":           {},
		"pull snapshot":         {list: snapshotNames, most: 1},
		"delete snapshot":       {list: snapshotNames},
		"delete test-config":    {list: testConfigNames},
		"delete api-key":        {list: keyNames},
		"delete replay":         {list: replayNames},
		"wait replay":           {list: replayNames, most: 1},
		"wait report":           {list: reportNames, most: 1},
		"inject":                {list: workloadNames},
		"uninject":              {list: workloadNames},
		"why":                   {list: workloadAndPodNames, most: 1},
		"tap":                   {list: workloadNames, most: 1},
		"infra logs":            {},
		"infra sidecar add":     {list: remoteWorkloadNames, most: 1},
		"infra sidecar remove":  {list: remoteWorkloadNames, most: 1},
		"infra replay":          {list: remoteWorkloadNames, most: 1},
		"infra cancel-replay":   {},
		"config get-contexts":   {list: contextNames, most: 1},
		"config use-context":    {list: contextNames, most: 1},
		"config delete-context": {list: contextNames, most: 1},
		"completion":            {list: fixed("bash", "zsh", "fish", "powershell"), most: 1},
		"explain":               {list: explained, most: 1},
		"create test-config":    {files: true},
		"push snapshot":         {files: true},
	}
}

// flagValues say what values flags of a name have. Where a command, and those below it,
// mean something else by it, its path is before the name.
func flagValues() map[string]lister {
	return map[string]lister{
		"context": contextNames, "cloud-context": contextNames, "kube-context": kubeContextNames,
		"namespace": namespaceNames, "operator-namespace": namespaceNames, "cloud-namespace": namespaceNames,
		"cluster": kubeClusterNames, "user": kubeUserNames, "get agents --cluster": toldClusterNames,
		"infra --cluster": remoteClusterNames, "infra --namespace": nil,
		"snapshot": snapshotNames, "snapshot-id": snapshotNames, "noise-from": snapshotNames,
		"test-config": testConfigNames, "test-config-id": testConfigNames,
		"mode":              fixed(string(v1.ModeFullReplay), string(v1.ModeGeneratorOnly), string(v1.ModeResponderOnly)),
		"cleanup":           fixed(string(v1.CleanupInventory), string(v1.CleanupAll), string(v1.CleanupNone)),
		"wait replay --for": fixed("ready", "passed", "mocks-ready"),
		"on-miss":           fixed("404", "passthrough"),
		"latency":           fixed("none", "recorded"),
		"scopes":            fixed(auth.ScopeIngest, auth.ScopeControl, auth.ScopeRead, auth.ScopeAdmin),
		"proxy-type":        fixed(config.ModeTransparent, config.ModeReverse, config.ModeForward, config.ModeDual),
		"proxy-protocol":    fixed("tcp", "http", "socks", "tcp:http", "tcp:socks"),
	}
}

// files are flags that name files or folders, by the shell's own completion.
func files() []string {
	return []string{
		"kubeconfig", "filename", "raw", "ca", "app-ca", "upstream-ca", "junit", "html", "markdown", "transforms", "values", "set-file", "cloud-values",
		"cloud-set-file", "certificate-authority", "client-certificate", "client-key", "home", "keep", "secrets", "cache-dir",
	}
}

// complete says of every argument and flag how a shell completes it.
func complete(g *global, root *cobra.Command) {
	known, values := arguments(), flagValues()
	if g.Plugin() {
		values["context"] = kubeContextNames
	}
	var visit func(c *cobra.Command, path string)
	visit = func(c *cobra.Command, path string) {
		if a, ok := known[path]; ok {
			c.ValidArgsFunction = g.completeArguments(a)
		} else if len(c.Commands()) == 0 && c.ValidateArgs([]string{"any"}) != nil {
			c.ValidArgsFunction = cobra.NoFileCompletions
		}
		c.Flags().VisitAll(func(f *pflag.Flag) { g.completeFlag(c, path, f, values) })
		for _, sub := range c.Commands() {
			visit(sub, strings.TrimPrefix(path+" "+sub.Name(), " "))
		}
	}
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { g.completeFlag(root, "", f, values) })
	visit(root, "")
}

// cutLast splits a path before its last command.
func cutLast(path string) (before, last string) {
	i := strings.LastIndexByte(path, ' ')
	return path[:max(i, 0)], path[i+1:]
}

func (g *global) completeFlag(c *cobra.Command, path string, f *pflag.Flag, values map[string]lister) {
	if _, there := c.GetFlagCompletionFunc(f.Name); there || f.NoOptDefVal != "" || slices.Contains(files(), f.Name) {
		return
	}
	list := values[f.Name]
	for at := path; at != ""; at, _ = cutLast(at) {
		if own, ok := values[at+" --"+f.Name]; ok {
			list = own
			break
		}
	}
	if out, ok := f.Value.(*printer.Flag); ok {
		list = fixed(out.Allowed()...)
	}
	complete := cobra.NoFileCompletions
	if list != nil {
		complete = g.values(list, cobra.ShellCompDirectiveNoFileComp)
	}
	if err := c.RegisterFlagCompletionFunc(f.Name, complete); err != nil {
		panic(err) // the flag is there, and had none
	}
}

func (g *global) completeArguments(a argument) cobra.CompletionFunc {
	directive := cobra.ShellCompDirectiveNoFileComp
	if a.files {
		directive = cobra.ShellCompDirectiveDefault
	}
	if a.list == nil {
		return cobra.FixedCompletions(nil, directive)
	}
	values := g.values(a.list, directive)
	return func(c *cobra.Command, given []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if a.most > 0 && len(given) >= a.most {
			return nil, directive
		}
		return values(c, given, typed)
	}
}

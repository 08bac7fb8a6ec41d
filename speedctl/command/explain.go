package command

import ("context";"github.com/spf13/cobra")

func explained(context.Context, *global, *cobra.Command, string) ([]cobra.Completion, error) { return nil, nil }
func newExplain(g *global) *cobra.Command { return &cobra.Command{Use: "explain", Short: "x", Example: "  speedctl explain"} }

package command

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/speedctl/term"
)

func newCreate(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:     "create",
		Short:   "Create a snapshot or an API key",
		Example: "  speedctl create snapshot --name checkout --start 15m",
	}
	c.AddCommand(newCreateSnapshot(g), newCreateKey(g))
	return group(c)
}

func newCreateSnapshot(g *global) *cobra.Command {
	var f selectionFlags
	var name, query string
	out := printer.NewFlag(printer.Table, printer.JSON, printer.YAML, printer.Name)
	c := &cobra.Command{
		Use:   "snapshot",
		Short: "Keep captured traffic as a snapshot, to replay and mock from",
		Long: `A snapshot is a copy of its own: it stays when the archive forgets its pairs. It states what was lost in
its window and why, so a gap is never silent.`,
		Example: `  speedctl create snapshot --name checkout --service shop --start 15m
  speedctl create snapshot --name posts --filter '(command IS "POST")' -o name`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			sel, err := f.selection(query, time.Now())
			if err != nil {
				return err
			}
			var id string
			err = g.withCloud(c.Context(), func(cl *client.Client) error {
				progress := g.StartProgress("creating the snapshot")
				defer progress.Stop()
				id, err = cl.CreateSnapshot(c.Context(), name, sel, func(pairs uint64) { progress.Update("creating the snapshot: %d pairs", pairs) })
				return err
			})
			if err != nil {
				return err
			}
			metas, err := snapshots(c.Context(), g, []string{id})
			if err != nil {
				return err
			}
			return printSnapshots(g, out, metas, true)
		},
	}
	c.Flags().StringVarP(&name, "name", "N", "", "name of the snapshot (default its time)")
	c.Flags().StringVar(&query, "filter", "", "keep only what this filter keeps")
	f.add(c)
	c.Flags().VarP(out, "output", "o", "form of the output")
	return c
}

func newCreateKey(g *global) *cobra.Command {
	var name string
	var scopes []string
	var expires time.Duration
	c := &cobra.Command{
		Use:   "api-key",
		Short: "Create an API key, and print it this once",
		Long: `Scopes: ingest (agents may send pairs), control (agents may report), read (traffic, snapshots and
reports), admin (all, and to change and delete).`,
		Example: "  speedctl create api-key --name ci --scopes read,control --expires 720h",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if len(scopes) == 0 {
				return term.WithCode(errors.New("--scopes is empty: want some of ingest, control, read, admin"), term.ExitUsage)
			}
			req := &cloudv1.CreateKeyRequest{Name: name, Scopes: scopes}
			if expires > 0 {
				req.Expires = time.Now().Add(expires).Unix()
			}
			return g.withCloud(c.Context(), func(cl *client.Client) error {
				res, err := cl.Keys.Create(c.Context(), req)
				if err != nil {
					return client.Explain(err)
				}
				g.Sayf("key %s, with the scopes %v:", res.GetId(), scopes)
				_, err = fmt.Fprintln(g.Out, res.GetKey())
				return err
			})
		},
	}
	c.Flags().StringVar(&name, "name", "", "what the key is for")
	c.Flags().StringSliceVar(&scopes, "scopes", nil, "what it may do: ingest, control, read, admin")
	c.Flags().DurationVar(&expires, "expires", 0, "when it ends, from now (default "+strconv.Quote("never")+")")
	return c
}

package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

func newCreate(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:     "create",
		Short:   "Create a snapshot, a test config or an API key",
		Example: "  speedctl create snapshot --name checkout --start 15m",
	}
	c.AddCommand(newCreateSnapshot(g), newCreateTestConfig(g), newCreateKey(g))
	return group(c)
}

func newCreateSnapshot(g *global) *cobra.Command {
	var f selectionFlags
	var name, query, raw string
	out := printer.NewFlag(printer.Table, printer.JSON, printer.YAML, printer.Name)
	c := &cobra.Command{
		Use:   "snapshot",
		Short: "Keep captured traffic as a snapshot, to replay and mock from",
		Long: `A snapshot is a copy of its own: it stays when the archive forgets its pairs. It states what was lost in
its window and why, so a gap is never silent.

With --raw it is made of a file instead: a documented raw.jsonl, one pair a line, taken as it is and not masked.`,
		Example: `  speedctl create snapshot --name checkout --service shop --start 15m
  speedctl create snapshot --name posts --filter '(command IS "POST")' -o name
  speedctl create snapshot --name elsewhere --raw raw.jsonl`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			sel, err := f.selection(query, time.Now())
			if err != nil {
				return err
			}
			for _, other := range []string{"filter", "start", "end", "service"} {
				if raw != "" && c.Flags().Changed(other) {
					return term.WithCode(fmt.Errorf("--raw takes all of a file: leave --%s out", other), term.ExitUsage)
				}
			}
			var id string
			err = g.withCloud(c.Context(), func(cl *client.Client) error {
				progress := g.StartProgress("creating the snapshot")
				defer progress.Stop()
				if raw != "" {
					id, err = importRaw(c.Context(), g, cl, raw, name)
					return err
				}
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
	c.Flags().StringVar(&raw, "raw", "", "make it of this file of pairs as JSON, one a line")
	c.Flags().VarP(out, "output", "o", "form of the output")
	return c
}

// importRaw makes a snapshot of a raw.jsonl, and warns of lines that are no pairs.
func importRaw(ctx context.Context, g *global, cl *client.Client, file, name string) (id string, err error) {
	in, err := os.Open(file)
	if err != nil {
		return "", term.WithCode(fmt.Errorf("--raw: %w", err), term.ExitUsage)
	}
	defer in.Close()
	id, bad, err := cl.ImportSnapshot(ctx, in, cmp.Or(name, strings.TrimSuffix(filepath.Base(file), ".jsonl")))
	for i, line := range bad {
		if i == 10 {
			g.Warnf("%s: lines without a pair: %d more, and what follows them", file, len(bad)-i)
			break
		}
		g.Warnf("%s:%d: %v", file, line.Line, line.Err)
	}
	if errors.Is(err, snapshot.ErrNotSnapshot) {
		err = term.WithCode(fmt.Errorf("--raw %q: no line is a pair", file), term.ExitUsage)
	}
	return id, err
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

package command

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

func newGetSnapshot(g *global) *cobra.Command {
	out := printer.NewFlag(printer.Table, printer.JSON, printer.YAML, printer.Name)
	c := &cobra.Command{
		Use:     "snapshot [ID|NAME|latest]",
		Aliases: []string{"snapshots"},
		Short:   "List snapshots, or show one",
		Example: `  speedctl get snapshots
  speedctl get snapshot latest -o yaml`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			metas, err := snapshots(c.Context(), g, a)
			if err != nil {
				return err
			}
			return printSnapshots(g, out, metas, len(a) == 1)
		},
	}
	c.Flags().VarP(out, "output", "o", "form of the output")
	return c
}

// snapshots fetches the one that is named, or all.
func snapshots(ctx context.Context, g *global, a []string) (metas []*snapshot.Meta, err error) {
	var raw [][]byte
	err = g.withCloud(ctx, func(c *client.Client) error {
		if len(a) == 1 {
			res, err := c.Snapshots.Get(ctx, &cloudv1.GetSnapshotRequest{Id: a[0]})
			raw = [][]byte{res.GetSnapshot()}
			return client.Explain(err)
		}
		res, err := c.Snapshots.List(ctx, &cloudv1.ListSnapshotsRequest{})
		raw = res.GetSnapshots()
		return client.Explain(err)
	})
	if err != nil {
		return nil, err
	}
	for _, b := range raw {
		m := &snapshot.Meta{}
		if err := json.Unmarshal(b, m); err != nil {
			return nil, fmt.Errorf("the cloud's answer: %w", err)
		}
		metas = append(metas, m)
	}
	return metas, nil
}

func printSnapshots(g *global, out *printer.Flag, metas []*snapshot.Meta, one bool) error {
	var v any = metas
	if one {
		v = metas[0]
	}
	if done, err := out.Encode(g.Out, v); done {
		return err
	}
	if out.Format == printer.Name {
		for _, m := range metas {
			fmt.Fprintln(g.Out, m.ID)
		}
		return nil
	}
	rows := [][]string{{"ID", "NAME", "PAIRS", "IN", "OUT", "LOST", "CREATED"}}
	for _, m := range metas {
		rows = append(rows, []string{m.ID, m.Info.Name, strconv.FormatInt(m.RecordsProcessed, 10),
			requests(m.InTraffic), requests(m.OutTraffic), lost(m), m.Info.CreatedAt.Local().Format(time.DateTime)})
	}
	return printer.Rows(g.Out, rows)
}

func requests(slices map[string]*snapshot.Slice) string {
	var n int64
	for _, s := range slices {
		n += s.NumRequests
	}
	return strconv.FormatInt(n, 10)
}

// lost sums the pairs that a snapshot misses for another reason than a filter.
func lost(m *snapshot.Meta) string {
	var n uint64
	for _, l := range m.Losses {
		if !l.Intended() {
			n += l.Pairs
		}
	}
	return strconv.FormatUint(n, 10)
}

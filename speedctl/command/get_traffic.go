package command

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
)

// selectionFlags choose pairs of the archive.
type selectionFlags struct {
	start, end, service string
}

func (f *selectionFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.start, "start", "", "from this time on: so long ago (15m) or RFC 3339")
	c.Flags().StringVar(&f.end, "end", "", "up to this time: so long ago or RFC 3339 (default now)")
	c.Flags().StringVarP(&f.service, "service", "S", "", "of this service only")
}

func (f *selectionFlags) selection(query string, now time.Time) (*cloudv1.Selection, error) {
	if _, err := filter.Parse(query); err != nil {
		return nil, term.WithCode(err, term.ExitUsage)
	}
	start, err := parseTime("start", f.start, now)
	if err != nil {
		return nil, err
	}
	end, err := parseTime("end", f.end, now)
	if err != nil {
		return nil, err
	}
	if start != 0 && end != 0 && end <= start {
		return nil, term.WithCode(fmt.Errorf("--end %s is not after --start %s", f.end, f.start), term.ExitUsage)
	}
	return &cloudv1.Selection{Query: query, Start: start, End: end, Service: f.service}, nil
}

// parseTime reads a time as people give it, and returns Unix nanoseconds, 0 for none.
func parseTime(flag, s string, now time.Time) (int64, error) {
	if s == "" {
		return 0, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d).UnixNano(), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0, term.WithCode(fmt.Errorf("--%s %q: want a duration such as 15m, or a time such as %s", flag, s, now.UTC().Format(time.RFC3339)), term.ExitUsage)
	}
	return t.UnixNano(), nil
}

func newGetTraffic(g *global) *cobra.Command {
	var f selectionFlags
	var limit int64
	out := printer.NewFlag(printer.Table, printer.JSON)
	c := &cobra.Command{
		Use:   "traffic [FILTER]",
		Short: "Show captured requests, by a filter",
		Long: `Traffic shows the pairs of the archive, oldest first. With -o json each line is a pair in its documented form,
as in a snapshot's raw.jsonl. What was captured a second ago may not be in the archive yet.`,
		Example: `  speedctl get traffic --start 15m
  speedctl get traffic '(command IS "POST" OR status IS "500") AND (location CONTAINS "/orders")'
  speedctl get traffic '(direction IS "out")' -o json --limit 10`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			query := ""
			if len(a) == 1 {
				query = a[0]
			}
			sel, err := f.selection(query, time.Now())
			if err != nil {
				return err
			}
			return listTraffic(c.Context(), g, out, &cloudv1.SearchRequest{Selection: sel, Limit: limit})
		},
	}
	f.add(c)
	c.Flags().Int64Var(&limit, "limit", 1000, "show at most so many; 0 shows all")
	c.Flags().VarP(out, "output", "o", "form of the output")
	return c
}

func listTraffic(ctx context.Context, g *global, out *printer.Flag, req *cloudv1.SearchRequest) error {
	return g.withCloud(ctx, func(c *client.Client) error {
		stream, err := c.Traffic.Search(ctx, req)
		if err != nil {
			return client.Explain(err)
		}
		defer stream.Close()
		rows := [][]string{{"TIME", "DIRECTION", "SERVICE", "HOST", "COMMAND", "LOCATION", "STATUS", "DURATION"}}
		var line []byte
		for stream.Receive() {
			for _, p := range stream.Msg().GetPairs() {
				if out.Format == printer.JSON {
					line = append(traffic.AppendJSON(line[:0], p), '\n')
					if _, err := g.Out.Write(line); err != nil {
						return err
					}
					continue
				}
				rows = append(rows, row(p))
			}
		}
		if err := stream.Err(); err != nil {
			return client.Explain(err)
		}
		if out.Format == printer.JSON {
			return nil
		}
		if int64(len(rows)-1) == req.GetLimit() {
			g.Sayf("the first %d are shown; --limit 0 shows all", req.GetLimit())
		}
		return printer.Rows(g.Out, rows)
	})
}

func row(p *traffic.RRPair) []string {
	direction := map[traffic.Direction]string{traffic.Direction_DIRECTION_IN: "in", traffic.Direction_DIRECTION_OUT: "out"}[p.GetDirection()]
	return []string{time.Unix(0, p.GetTs()).Format("15:04:05.000"), direction, p.GetService(), p.GetNetworkAddress(),
		p.GetCommand(), p.GetLocation(), p.GetStatus(), time.Duration(p.GetDuration()).Round(10 * time.Microsecond).String()}
}

func newGetKeys(g *global) *cobra.Command {
	out := printer.NewFlag(printer.Table, printer.JSON, printer.YAML)
	c := &cobra.Command{
		Use:     "api-keys",
		Aliases: []string{"api-key"},
		Short:   "List the cloud's API keys (their hashes are all it has)",
		Example: "  speedctl get api-keys",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			var keys []*cloudv1.Key
			err := g.withCloud(c.Context(), func(cl *client.Client) error {
				res, err := cl.Keys.List(c.Context(), &cloudv1.ListKeysRequest{})
				keys = res.GetKeys()
				return client.Explain(err)
			})
			if err != nil {
				return err
			}
			if done, err := out.Encode(g.Out, keys); done {
				return err
			}
			rows := [][]string{{"ID", "NAME", "SCOPES", "LAST USED"}}
			for _, k := range keys {
				used := "never"
				if k.GetLastUsed() > 0 {
					used = time.Unix(k.GetLastUsed(), 0).Format(time.DateTime)
				}
				rows = append(rows, []string{k.GetId(), k.GetName(), fmt.Sprint(k.GetScopes()), used})
			}
			return printer.Rows(g.Out, rows)
		},
	}
	c.Flags().VarP(out, "output", "o", "form of the output")
	return c
}

func newCreate(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:     "create",
		Short:   "Create a snapshot or an API key",
		Example: "  speedctl create snapshot --name checkout --start 15m",
		Args:    args(cobra.NoArgs),
	}
	c.AddCommand(newCreateSnapshot(g), newCreateKey(g))
	return c
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

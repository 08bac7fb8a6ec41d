package command

import (
	"context"
	"fmt"
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

package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/speedctl/term"
)

// watchEvery is how often a list that is watched is read again.
const watchEvery = 2 * time.Second

// showFlags say how a list is shown.
type showFlags struct {
	watch bool
	by    string
}

func (f *showFlags) add(c *cobra.Command) {
	c.Flags().BoolVarP(&f.watch, "watch", "w", false, "go on after the list, and print what is new or different, until interrupted")
	c.Flags().StringVar(&f.by, "sort-by", "", "sort by a column, such as name, or by a JSONPath, such as .metadata.creationTimestamp")
}

// show prints a list, once or until it is interrupted.
func (f *showFlags) show(ctx context.Context, g *global, out *printer.Flag, read func(context.Context) (printer.List, error)) error {
	if f.watch && (out.Format == printer.JSON || out.Format == printer.YAML) {
		return term.WithCode(fmt.Errorf("--watch: want a table or names, not -o %s", out.Format), term.ExitUsage)
	}
	before, err := f.read(ctx, read)
	if err == nil {
		err = before.Write(g.Out, out)
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for err == nil && f.watch {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		var now printer.List
		if now, err = f.read(ctx, read); err != nil {
			break
		}
		news := now.News(before)
		before = now
		if len(news.Rows) > 1 {
			err = news.Write(g.Out, out)
		}
	}
	if err != nil && ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

func (f *showFlags) read(ctx context.Context, read func(context.Context) (printer.List, error)) (printer.List, error) {
	l, err := read(ctx)
	if err != nil || f.by == "" {
		return l, err
	}
	return l, term.WithCode(l.Sort(f.by), term.ExitUsage)
}

package command

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/tui/style"
	tui "github.com/speedscale/speedscale/speedctl/tui/traffic"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
)

// clean makes text that was captured fit for a line of a terminal.
func clean(s string) string { return style.Clean(s) }

// screen shows the traffic on a terminal.
func (t *tap) screen(ctx context.Context) error {
	o := tui.Options{
		Theme: style.New(t.g.Out, t.g.Colors()), Title: t.title(), Query: t.query, Live: t.snapshot == "",
		SaveFilter: func(file string, s tui.Shown) (string, error) { return saveFilter(file, s.Filter) },
		SaveSnapshot: func(ctx context.Context, name string, s tui.Shown) (string, error) {
			id, err := t.save(ctx, name, s)
			return fmt.Sprintf("snapshot %q is %s", name, id), err
		},
	}
	feed := func(ctx context.Context, show func(tui.Arrived)) error {
		return t.follow().Run(ctx, func(a client.Arrival) error {
			show(tui.Arrived{Pairs: a.Pairs, Skipped: a.Skipped, Live: a.Live, Waiting: a.Waiting})
			return ctx.Err()
		})
	}
	if t.snapshot != "" {
		t.filter, _ = filter.Parse("") // the screen has the filter
		feed = func(ctx context.Context, show func(tui.Arrived)) error {
			err := t.fromSnapshot(ctx, func(pairs []*traffic.RRPair) error {
				show(tui.Arrived{Pairs: pairs})
				return ctx.Err()
			})
			if err == nil {
				show(tui.Arrived{Live: true})
			}
			return err
		}
	}
	stderr := t.g.Err
	t.g.Err = io.Discard // it would draw over the screen
	defer func() { t.g.Err = stderr }()
	return tui.Run(ctx, o, t.g.In, t.g.Out, feed)
}

func (t *tap) title() string {
	switch {
	case t.snapshot != "":
		return "snapshot " + t.snapshot
	case t.ref != nil:
		return t.ref.String()
	case t.sel.Service != "":
		return "service " + t.sel.Service
	}
	return "all traffic"
}

// saveFilter writes the JSON form of a filter, and replaces no file.
func saveFilter(file string, f *filter.Filter) (string, error) {
	if !strings.Contains(filepath.Base(file), ".") {
		file += ".json"
	}
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("%q exists: choose another name", file)
	}
	if err != nil {
		return "", err
	}
	_, err = out.Write(append(f.JSON(), '\n'))
	if err = errors.Join(err, out.Close()); err != nil {
		return "", err
	}
	return fmt.Sprintf("the filter is in %s: speedctl tap -f %[1]s", file), nil
}

// save makes a snapshot of what is shown: by the cloud, which has the archive and knows
// what was lost, and of another snapshot by its pairs.
func (t *tap) save(ctx context.Context, name string, s tui.Shown) (id string, err error) {
	c, err := t.follow().Connect(ctx, false)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if t.snapshot != "" {
		var raw bytes.Buffer
		for _, p := range s.Pairs {
			raw.Write(append(traffic.AppendJSON(nil, p), '\n'))
		}
		id, bad, err := c.ImportSnapshot(ctx, &raw, name)
		if err == nil && len(bad) > 0 {
			err = bad[0]
		}
		return id, err
	}
	sel := &cloudv1.Selection{Query: s.Query, Service: t.sel.Service, Namespace: t.sel.Namespace}
	for _, p := range s.Pairs {
		sel.Start, sel.End = min(cmp.Or(sel.Start, p.Ts), p.Ts), max(sel.End, p.Ts+1)
	}
	return c.CreateSnapshot(ctx, name, sel, func(uint64) {})
}

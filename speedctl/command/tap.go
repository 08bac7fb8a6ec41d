package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/workload"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
)

type tapFlags struct {
	snapshot, service, start string
	file                     string
	limit                    int64
	noTUI                    bool
	out                      *printer.Flag
}

func newTap(g *global) *cobra.Command {
	f := tapFlags{out: printer.NewFlag(printer.Table, printer.JSON)}
	c := &cobra.Command{
		Use:   "tap [KIND/NAME] [FILTER]",
		Short: "Watch captured traffic as it arrives, or look through a snapshot's",
		Long: `Tap shows the requests that a workload receives and sends, with their answers, as they are captured: masked, and with
those of the last minute first. Without a workload it shows all that the cloud gets. With --snapshot it shows the pairs of
a snapshot.

On a terminal it fills the screen: / filters while you type, enter opens a pair with its bodies decoded, m shows which
service calls whom, s saves what is shown as a snapshot, f the filter, ? says more. The newest 5,000 pairs are kept, up
to 64 MiB of them. Elsewhere, or with --no-tui, each pair is a line, with -o json in its documented form. Pairs
that come faster than they are read are skipped, and counted; the archive has them.

Workloads are looked up in the cluster. Where the cloud is the local one there are none: --service names what
speedctl capture was given.`,
		Example: `  speedctl tap deployment/checkout -n shop
  speedctl tap 'status IS "500"' --no-tui
  speedctl tap --service shop --start 15m --limit 10 -o json
  speedctl tap --snapshot checkout`,
		Args: args(cobra.MaximumNArgs(2)),
		Annotations: notRun("it goes on until it is interrupted: testdata/script/tap.txtar and test/kube run it",
			"speedctl tap deployment/checkout -n shop", `speedctl tap 'status IS "500"' --no-tui`),
		RunE: func(c *cobra.Command, a []string) error {
			t, err := f.tap(g, a)
			if err != nil {
				return err
			}
			return t.run(c.Context())
		},
	}
	c.Flags().StringVar(&f.snapshot, "snapshot", "", "show this snapshot: its id, name, \"latest\" or folder")
	c.Flags().StringVarP(&f.service, "service", "S", "", "of this service only")
	c.Flags().StringVar(&f.start, "start", "1m", "begin with what was captured since: so long ago, or RFC 3339; 0s shows only what arrives")
	c.Flags().StringVarP(&f.file, "filename", "f", "", "file with a filter, as the screen saves it")
	c.Flags().Int64Var(&f.limit, "limit", 0, "end after so many pairs; implies --no-tui")
	c.Flags().BoolVar(&f.noTUI, "no-tui", false, "print a line for each pair, on a terminal too")
	c.Flags().VarP(f.out, "output", "o", "form of the output; json implies --no-tui")
	g.kube.add(c)
	return c
}

// tap is one run of the command.
type tap struct {
	*tapFlags
	g      *global
	ref    *workload.Ref
	query  string
	filter *filter.Filter
	sel    *cloudv1.Selection
}

func (f *tapFlags) tap(g *global, a []string) (*tap, error) {
	t := &tap{tapFlags: f, g: g, sel: &cloudv1.Selection{Service: f.service}}
	if len(a) > 0 && isWorkload(a[0]) {
		refs, err := g.refs(a[:1])
		if err != nil {
			return nil, err
		}
		t.ref = &refs[0]
		t.sel.Service, t.sel.Namespace = t.ref.Name, t.ref.Namespace
		a = a[1:]
	}
	usage := func(err error) (*tap, error) { return nil, term.WithCode(err, term.ExitUsage) }
	switch {
	case len(a) > 1:
		return usage(fmt.Errorf("workload %q: want KIND/NAME, such as deployment/checkout", a[0]))
	case t.ref != nil && f.service != "":
		return usage(errors.New("--service: the workload says which service is meant"))
	case len(a) == 1 && f.file != "":
		return usage(errors.New("-f: the command line has a filter already"))
	case f.limit < 0:
		return usage(fmt.Errorf("--limit %d is negative", f.limit))
	}
	if len(a) == 1 {
		t.query = a[0]
	}
	var err error
	if f.file != "" {
		if t.query, err = readFilter(f.file); err != nil {
			return nil, err
		}
	}
	if t.filter, err = filter.Parse(t.query); err != nil {
		return usage(err)
	}
	t.sel.Start, err = parseTime("start", f.start, time.Now())
	return t, err
}

// isWorkload says that an argument is KIND/NAME, and no filter, of which none is
// without a blank.
func isWorkload(arg string) bool {
	return strings.Contains(arg, "/") && !strings.ContainsAny(arg, " \"(")
}

// readFilter reads the query or JSON form of a filter.
func readFilter(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", term.WithCode(fmt.Errorf("-f: %w", err), term.ExitUsage)
	}
	if !strings.HasPrefix(strings.TrimSpace(string(text)), "{") {
		return string(text), nil
	}
	f, err := filter.ParseJSON(text)
	if err != nil {
		return "", term.WithCode(fmt.Errorf("-f %q: %w", file, err), term.ExitUsage)
	}
	return f.String(), nil
}

func (t *tap) run(ctx context.Context) error {
	if t.snapshot == "" && t.ref != nil {
		if err := t.lookAt(ctx); err != nil {
			return err
		}
	}
	if t.g.InTTY && t.g.OutTTY && !t.noTUI && t.limit == 0 && t.out.Format == printer.Table && t.g.Getenv("TERM") != "dumb" {
		return t.screen(ctx)
	}
	p := &tapPrinter{t: t}
	if t.snapshot != "" {
		return t.fromSnapshot(ctx, func(pairs []*traffic.RRPair) error { return p.print(client.Arrival{Pairs: pairs}) })
	}
	t.sel.Query = t.query
	err := t.follow().Run(ctx, p.print)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil // it has no other end than the user's
	}
	return err
}

// follow reads what is selected.
func (t *tap) follow() *client.Follow {
	return &client.Follow{Selection: t.sel, Limit: t.limit, Connect: func(ctx context.Context, running bool) (*client.Client, error) {
		if t.ref != nil {
			return t.g.connectCluster(ctx, running)
		}
		o, err := t.g.cloudOptions()
		if err != nil {
			return nil, err
		}
		o.Running = running
		return t.g.reach(ctx, o)
	}}
}

// lookAt says what keeps a workload from being captured. Only the whole of it ends the
// command: what is captured of some pods can be seen.
func (t *tap) lookAt(ctx context.Context) error {
	kube, err := t.g.kube.client()
	if err != nil {
		return err
	}
	w, err := workload.Get(ctx, kube, *t.ref)
	if err != nil {
		return workloadCode(err)
	}
	pods, err := workload.Pods(ctx, kube, w)
	if err != nil {
		return err
	}
	c := workload.CaptureOf(w, pods)
	name := strings.ToLower(t.ref.Kind) + "/" + t.ref.Name
	switch c.State {
	case workload.None:
		return term.WithHint(fmt.Errorf("nothing is captured of %s: it asks for no sidecar", t.ref),
			fmt.Sprintf("speedctl inject %s -n %s has it captured, by a rollout of its pods", name, t.ref.Namespace))
	case workload.Asked:
		t.g.Warnf("none of the %d pods of %s has a sidecar: speedctl why %s -n %s says why", c.Pods, t.ref, name, t.ref.Namespace)
	case workload.Partly:
		t.g.Warnf("%d of %d pods of %s have a sidecar: the others are not seen", c.Sidecars, c.Pods, t.ref)
	}
	return nil
}

// fromSnapshot reads the pairs of a snapshot that the selection and, off the screen, the
// filter match.
func (t *tap) fromSnapshot(ctx context.Context, show func([]*traffic.RRPair) error) error {
	dir, err := t.g.dir()
	if err != nil {
		return err
	}
	s, err := client.OpenSnapshot(ctx, dir, t.snapshot, t.g.connect)
	if err != nil {
		return err
	}
	const most = 100
	var pairs []*traffic.RRPair
	n := int64(0)
	for p, err := range s.Raw() {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if t.sel.Service != "" && p.Service != t.sel.Service || t.sel.Namespace != "" && p.Namespace != t.sel.Namespace {
			continue
		}
		if !t.filter.Match(p) {
			continue
		}
		n++
		if pairs = append(pairs, p); len(pairs) == most {
			if err := show(pairs); err != nil {
				return err
			}
			pairs = nil
		}
		if n == t.limit {
			break
		}
	}
	return show(pairs)
}

// tapPrinter writes a line for each pair.
type tapPrinter struct {
	t       *tap
	headed  bool
	waiting string
	line    []byte
}

func (p *tapPrinter) print(a client.Arrival) error {
	g := p.t.g
	if a.Waiting != p.waiting && a.Waiting != "" {
		g.Sayf("%s; waiting", a.Waiting)
	}
	p.waiting = a.Waiting
	if a.Skipped > 0 {
		g.Warnf("%d pairs came too fast and are skipped; the archive has them", a.Skipped)
	}
	for _, pair := range a.Pairs {
		if p.line = p.line[:0]; p.t.out.Format == printer.JSON {
			p.line = traffic.AppendJSON(p.line, pair)
		} else {
			if !p.headed {
				p.headed = true
				p.line = appendRow(p.line, tapHead())
				p.line = append(p.line, '\n')
			}
			p.line = appendRow(p.line, row(pair))
		}
		if _, err := g.Out.Write(append(p.line, '\n')); err != nil {
			return err
		}
	}
	return nil
}

func tapHead() []string {
	return []string{"TIME", "DIRECTION", "SERVICE", "HOST", "COMMAND", "LOCATION", "STATUS", "DURATION"}
}

// appendRow writes the columns of get traffic, whose widths cannot be known while more
// pairs are to come. What is longer moves the others.
func appendRow(b []byte, cells []string) []byte {
	widths := []int{12, 9, 16, 24, 7, 32, 6, 0}
	for i, cell := range cells {
		b = fmt.Appendf(b, "%-*s", widths[i], clean(cell))
		if i < len(cells)-1 {
			b = append(b, "  "...)
		}
	}
	return b
}

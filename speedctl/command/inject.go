package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/check"
	"github.com/speedscale/speedscale/cluster/install"
	"github.com/speedscale/speedscale/cluster/workload"
	"github.com/speedscale/speedscale/speedctl/term"
)

// targetFlags say which workloads are changed, and how that is watched.
type targetFlags struct {
	files   []string
	dryRun  bool
	wait    bool
	timeout time.Duration
}

func (f *targetFlags) add(c *cobra.Command) {
	c.Flags().StringSliceVarP(&f.files, "filename", "f", nil, "file of manifests, - for standard input: they are written to standard output with their annotations changed, and no cluster is asked; repeatable")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "print the change of each workload, and make none")
	c.Flags().BoolVar(&f.wait, "wait", true, "wait until the workloads' new pods are ready")
	c.Flags().DurationVar(&f.timeout, "timeout", 5*time.Minute, "limit of the wait for each workload")
}

// check wants workloads or a file.
func (f *targetFlags) check(names []string) error {
	if (len(f.files) == 0) == (len(names) == 0) {
		return term.WithCode(term.WithHint(errors.New("want workloads or -f"), "name them as KIND/NAME, such as deployment/checkout, or their manifests with -f FILE"), term.ExitUsage)
	}
	return nil
}

// manifests copies the files to standard output, changed. It returns what was left in
// them, as workload.Manifests does.
func (f *targetFlags) manifests(g *global, change func(*workload.Workload) (map[string]*string, error)) (left []string, err error) {
	var out strings.Builder // all or nothing
	workloads := 0
	for _, name := range f.files {
		n, some, err := copyManifests(g, name, &out, change)
		if err != nil {
			return nil, term.WithCode(err, term.ExitUsage)
		}
		workloads += n
		left = append(left, some...)
	}
	if workloads == 0 {
		return left, term.WithCode(fmt.Errorf("-f %q: no workload is in it", strings.Join(f.files, ",")), term.ExitUsage)
	}
	_, err = io.WriteString(g.Out, out.String())
	return left, err
}

// inject has the files' manifests ask for sidecars.
func (f *targetFlags) inject(g *global, set map[string]string) error {
	left, err := f.manifests(g, func(w *workload.Workload) (map[string]*string, error) {
		p, err := workload.Plan(w, set)
		for _, text := range workload.Overridden(w, p.Settings) {
			g.Warnf("%s: %s", w.Ref, text)
		}
		return p.Changes, err
	})
	for _, text := range left {
		g.Warnf("%s", text)
	}
	return err
}

// copyManifests is workload.Manifests for a file, or standard input.
func copyManifests(g *global, name string, out io.Writer, change func(*workload.Workload) (map[string]*string, error)) (n int, left []string, err error) {
	in := g.In
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return 0, nil, fmt.Errorf("-f: %w", err)
		}
		defer file.Close()
		in = file
	}
	if n, left, err = workload.Manifests(in, out, change); err != nil {
		err = fmt.Errorf("-f %q: %w", name, err)
	}
	return n, left, err
}

// refs reads the names of workloads, in the namespace that is meant.
func (g *global) refs(names []string) (refs []workload.Ref, err error) {
	namespace, err := g.kube.namespace()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range names {
		r, err := workload.ParseRef(name, namespace)
		refs, errs = append(refs, r), append(errs, err)
	}
	return refs, term.WithCode(errors.Join(errs...), term.ExitUsage)
}

// make prints the changes or makes them and, one after the other, waits for each.
func (f *targetFlags) make(ctx context.Context, g *global, c kubernetes.Interface, changes []workload.Change, wait waiter) error {
	for _, change := range changes {
		for _, w := range change.Warnings {
			g.Warnf("%s", w)
		}
		if f.dryRun {
			text, err := change.Patch()
			if err != nil {
				return err
			}
			fmt.Fprintf(g.Out, "---\n%s", text)
		}
	}
	if f.dryRun {
		return nil
	}
	if err := workload.AnnotateAll(ctx, c, changes); err != nil {
		return err
	}
	var errs []error
	for _, change := range changes {
		if !f.wait {
			g.Sayf("%s: annotated", change.Ref)
			continue
		}
		errs = append(errs, f.watch(ctx, g, c, change.Ref, wait))
	}
	return errors.Join(errs...)
}

// waiter is one of the waits of package workload.
type waiter func(context.Context, kubernetes.Interface, workload.Ref, time.Duration, func(workload.State)) (workload.State, error)

func (f *targetFlags) watch(ctx context.Context, g *global, c kubernetes.Interface, r workload.Ref, wait waiter) error {
	progress := g.StartProgress(r.String())
	s, err := wait(ctx, c, r, f.timeout, func(s workload.State) {
		progress.Update("%s: %s", r, strings.Join(append([]string{s.Text}, s.Problems...), "; "))
	})
	progress.Stop()
	if errors.Is(err, workload.ErrNoStamp) {
		return unanswered(ctx, c, r, err)
	}
	if err != nil {
		return err
	}
	g.Sayf("%s: %s", r, s.Text)
	return nil
}

// takenUp refuses workloads that no operator would take up, whatever their annotations:
// those would stay, and be taken up by surprise some day. One that is away for a while is
// no reason. All workloads are of one namespace.
func takenUp(ctx context.Context, c kubernetes.Interface, refs []workload.Ref) error {
	s, err := check.Surround(ctx, c, install.Namespace, refs[0].Namespace)
	if err != nil || len(s.Lasting()) == 0 {
		return err
	}
	var errs []error
	for _, r := range refs {
		errs = append(errs, workload.Refuse("%s cannot have a sidecar: %s", r, s.Lasting()[0].Text))
	}
	return term.WithHint(errors.Join(errs...), s.Lasting()[0].Hint)
}

// unanswered adds to an error of a workload that no operator has taken up why that may be.
func unanswered(ctx context.Context, c kubernetes.Interface, r workload.Ref, err error) error {
	s, failed := check.Surround(ctx, c, install.Namespace, r.Namespace)
	if failed != nil {
		err = fmt.Errorf("%w: %w", err, failed)
	}
	for _, reason := range slices.Concat(s.Lasting(), s.Passing(), s.Unknown.Reasons()) {
		err = fmt.Errorf("%w; %s", err, reason.Text)
	}
	return term.WithHint(err, "speedctl check says what is wrong with the operator, which takes the annotations up when it is back; speedctl uninject takes them away")
}

// sidecarFlags are the annotations that are needed most.
type sidecarFlags struct {
	tlsOut, nodeTraffic bool
	values              map[string]*string
	set                 map[string]string
}

func (f *sidecarFlags) add(c *cobra.Command) {
	f.values = map[string]*string{}
	c.Flags().BoolVar(&f.tlsOut, "tls-out", false, "open outbound TLS, so that requests to HTTPS hosts are captured")
	c.Flags().BoolVar(&f.nodeTraffic, "capture-node-traffic", false, "capture what comes from the node too, such as probes")
	for _, v := range []struct{ name, key, usage string }{
		{"tls-out-ca", annotation.TLSOutCA, "roots of hosts with a private CA: configmap/NAME or secret/NAME, with /KEY"},
		{"tls-in-secret", annotation.TLSInSecret, "Secret with the app's own certificate, to open inbound TLS"},
		{"proxy-type", annotation.ProxyType, "transparent, reverse, forward or dual (default transparent)"},
		{"proxy-protocol", annotation.ProxyProtocol, "what the proxy speaks where it is not transparent: tcp, http, socks, tcp:http or tcp:socks"},
		{"proxy-port", annotation.ProxyPort, "port of the app in reverse and dual mode"},
	} {
		f.values[v.key] = c.Flags().String(v.name, "", v.usage)
	}
	c.Flags().StringToStringVar(&f.set, "set-annotation", nil, "another annotation, without sidecar.speedscale.com/ if you like: ignore-outbound-ports=5432; repeatable")
}

// annotations are those that the flags ask for.
func (f *sidecarFlags) annotations() map[string]string {
	set := map[string]string{}
	for key, value := range f.values {
		if *value != "" {
			set[key] = *value
		}
	}
	if f.tlsOut {
		set[annotation.TLSOut] = "true"
	}
	if f.nodeTraffic {
		set[annotation.CaptureNodeTraffic] = "true"
	}
	long := maps.Collect(func(yield func(string, string) bool) {
		for key, value := range f.set {
			if !strings.Contains(key, "/") {
				key = annotation.Prefix + key
			}
			if !yield(key, value) {
				return
			}
		}
	})
	maps.Copy(set, long)
	return set
}

func newInject(g *global) *cobra.Command {
	var f targetFlags
	var sidecar sidecarFlags
	c := &cobra.Command{
		Use:   "inject [KIND/NAME...] [-f FILE]",
		Short: "Have workloads' traffic captured, by a sidecar in their pods",
		Long: `Inject annotates workloads. The operator then adds the sidecar to their pods, which are replaced as in any rollout;
their templates stay as their owner wrote them, but for one annotation. What would break pods is refused before
anything is changed, and what the sidecar would not see is said.

With -f, manifests are written to standard output with the annotations, for kubectl apply: those of pods by themselves
too. What has pods and cannot have a sidecar so, such as a ReplicaSet, is named and left as it is.

Exit codes: 2 when an annotation is wrong, the pods cannot have a sidecar, or no operator would give them one; 4 when a
workload does not exist; 1 when the pods do not become ready in time, or start without the sidecar.`,
		Example: `  speedctl inject deployment/checkout statefulset/cart -n shop --tls-out
  speedctl inject deployment/checkout --set-annotation ignore-outbound-ports=5432,9092
  speedctl inject -f checkout.yaml
  speedctl inject deployment/checkout --dry-run`,
		Annotations: notRun("it waits for pods that an operator changes: test/kube runs the command, with flags of its own",
			"speedctl inject deployment/checkout statefulset/cart -n shop --tls-out",
			"speedctl inject deployment/checkout --set-annotation ignore-outbound-ports=5432,9092"),
		RunE: func(c *cobra.Command, a []string) error {
			if err := f.check(a); err != nil {
				return err
			}
			set := sidecar.annotations()
			if len(f.files) > 0 {
				return f.inject(g, set)
			}
			refs, err := g.refs(a)
			if err != nil {
				return err
			}
			kube, err := g.kube.client()
			if err != nil {
				return err
			}
			changes, err := workload.PlanAll(c.Context(), kube, refs, set)
			if err == nil {
				err = takenUp(c.Context(), kube, refs)
			}
			if err != nil {
				return workloadCode(err)
			}
			return f.make(c.Context(), g, kube, changes, workload.WaitInjected)
		},
	}
	f.add(c)
	sidecar.add(c)
	g.kube.add(c)
	return c
}

func newUninject(g *global) *cobra.Command {
	var f targetFlags
	c := &cobra.Command{
		Use:   "uninject [KIND/NAME...] [-f FILE]",
		Short: "Take the sidecar out of workloads' pods",
		Long:  "Uninject takes all annotations about the sidecar off workloads, whose pods are then replaced by some without it.",
		Example: `  speedctl uninject deployment/checkout
  speedctl uninject -f checkout.yaml`,
		Annotations: notRun("it waits for pods that an operator changes: test/kube runs the command, with flags of its own", "speedctl uninject deployment/checkout"),
		RunE: func(c *cobra.Command, a []string) error {
			if err := f.check(a); err != nil {
				return err
			}
			if len(f.files) > 0 {
				_, err := f.manifests(g, func(w *workload.Workload) (map[string]*string, error) { return workload.Removal(w), nil })
				return err
			}
			refs, err := g.refs(a)
			if err != nil {
				return err
			}
			kube, err := g.kube.client()
			if err != nil {
				return err
			}
			changes, err := workload.RemoveAll(c.Context(), kube, refs)
			if err != nil {
				return workloadCode(err)
			}
			return f.make(c.Context(), g, kube, changes, workload.WaitRemoved)
		},
	}
	f.add(c)
	g.kube.add(c)
	return c
}

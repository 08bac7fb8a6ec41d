package command

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/speedctl/local"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic/filter"
)

// proxyFlags are those of every command that puts the proxy beside an app.
type proxyFlags struct {
	reverse    []string
	aliases    []string
	upstreamCA []string
	inPort     int
	outPort    int
	tlsOut     bool
}

func (f *proxyFlags) add(c *cobra.Command) {
	c.Flags().IntVar(&f.outPort, "out-port", config.ProxyOutPort, "port of the HTTP and SOCKS5 proxy for the app's own requests; 0 takes a free one")
	c.Flags().StringArrayVar(&f.reverse, "reverse-proxy", nil, "LPORT=HOST:PORT: listen on LPORT for a dependency on localhost, which clients never proxy; repeatable")
	c.Flags().StringArrayVar(&f.aliases, "host-alias", nil, "HOST[:PORT]=ADDRESS: where the proxy finds a name that does not resolve; repeatable")
	c.Flags().StringArrayVar(&f.upstreamCA, "upstream-ca", nil, "PEM file with roots that verify upstreams, beside the system's; repeatable")
	c.Flags().BoolVar(&f.tlsOut, "tls-out", true, "open the app's own TLS connections, with certificates of a CA that only the app is told of")
}

func (f *proxyFlags) proxy() (p local.Proxy, err error) {
	p = local.Proxy{OutListen: loopback(f.outPort), UpstreamCA: f.upstreamCA, TLSOut: f.tlsOut, Aliases: map[string]string{}}
	for _, r := range f.reverse {
		port, upstream, ok := strings.Cut(r, "=")
		n, err := strconv.ParseUint(port, 10, 16)
		if _, _, err2 := net.SplitHostPort(upstream); !ok || err != nil || err2 != nil {
			return p, term.WithCode(fmt.Errorf("--reverse-proxy %q: want LPORT=HOST:PORT, such as 15432=localhost:5432", r), term.ExitUsage)
		}
		p.Mappings = append(p.Mappings, config.Mapping{Listen: loopback(int(n)), Upstream: upstream})
	}
	for _, a := range f.aliases {
		host, addr, ok := strings.Cut(a, "=")
		if !ok || host == "" || addr == "" {
			return p, term.WithCode(fmt.Errorf("--host-alias %q: want HOST=ADDRESS or HOST:PORT=ADDRESS:PORT", a), term.ExitUsage)
		}
		p.Aliases[host] = addr
	}
	return p, nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// splitCommand separates the arguments before -- from the command after it.
func splitCommand(c *cobra.Command, a []string) (before, argv []string) {
	if n := c.ArgsLenAtDash(); n >= 0 {
		return a[:n], a[n:]
	}
	return a, nil
}

// maxArgs limits the arguments before --.
func maxArgs(limit int) cobra.PositionalArgs {
	return args(func(c *cobra.Command, a []string) error {
		before, _ := splitCommand(c, a)
		return cobra.MaximumNArgs(limit)(c, before)
	})
}

type captureFlags struct {
	proxyFlags
	exclude  string
	sample   int
	duration time.Duration
}

func newCapture(g *global) *cobra.Command {
	var f captureFlags
	c := &cobra.Command{
		Use:   "capture [SERVICE [PORT]] [-- COMMAND [ARG...]]",
		Short: "Capture what a service receives and sends, until interrupted or the command ends",
		Long: `Capture starts the proxy beside a service. Requests to --in-port are passed to PORT and captured as inbound;
what the service sends through the proxy on --out-port is captured as outbound. Given a command, capture
starts it with the proxy and CA variables set; otherwise it prints them. Everything is masked in
memory before it is stored, and what could not be kept is counted.

Clients never use a proxy for localhost: a dependency there needs --reverse-proxy, and the service is pointed
at LPORT. A direction that saw nothing for 30 s says so.`,
		Example: `  speedctl capture shop 8080 -- ./shop
  speedctl capture -- curl -s https://example.com
  speedctl capture shop 8080 --reverse-proxy 15432=localhost:5432 -- ./shop --db localhost:15432`,
		Annotations: notRun("it asks a server on the internet", "speedctl capture -- curl -s https://example.com"),
		Args:        maxArgs(2),
		RunE: func(c *cobra.Command, a []string) error {
			before, argv := splitCommand(c, a)
			o, err := f.options(before, argv)
			if err != nil {
				return err
			}
			if o.Home, err = g.dir(); err != nil {
				return err
			}
			cloud, err := g.connect(c.Context())
			if err != nil {
				return err
			}
			defer cloud.Close()
			o.Cloud, o.World, o.Logger = cloud, g.World, g.logger()
			return local.Capture(c.Context(), o)
		},
	}
	f.add(c)
	c.Flags().IntVar(&f.inPort, "in-port", config.ProxyInPort, "port that clients of the service use; 0 takes a free one")
	c.Flags().StringVar(&f.exclude, "exclude", "", "do not capture what this filter keeps (default health checks and scrapers)")
	c.Flags().IntVar(&f.sample, "sample", 1, "capture one in so many sessions")
	c.Flags().DurationVar(&f.duration, "duration", 0, "end by itself after so long")
	return c
}

func (f *captureFlags) options(before, argv []string) (local.CaptureOptions, error) {
	o := local.CaptureOptions{Command: argv, Duration: f.duration, Sample: f.sample}
	p, err := f.proxy()
	if err != nil {
		return o, err
	}
	switch {
	case len(before) > 0:
		p.Service = before[0]
	case len(argv) > 0:
		p.Service = filepath.Base(argv[0])
	default:
		return o, term.WithCode(term.WithHint(fmt.Errorf("nothing to capture"), "name a SERVICE and its PORT, or give a command after --"), term.ExitUsage)
	}
	if len(before) > 1 {
		if _, err := strconv.ParseUint(before[1], 10, 16); err != nil {
			return o, term.WithCode(fmt.Errorf("port %q: want a number from 1 to 65535", before[1]), term.ExitUsage)
		}
		p.App = net.JoinHostPort("127.0.0.1", before[1])
		p.InListen = loopback(f.inPort)
	}
	exclude := filter.Standard()
	if f.exclude != "" {
		if exclude, err = filter.Parse(f.exclude); err != nil {
			return o, term.WithCode(fmt.Errorf("--exclude: %w", err), term.ExitUsage)
		}
	}
	p.Exclude = exclude
	o.Proxy = p
	return o, nil
}

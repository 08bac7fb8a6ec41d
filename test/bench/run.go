package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// row is one figure, with its goal beside it.
type row struct {
	Part     string  `json:"part"`
	Figure   string  `json:"figure"`
	Measured float64 `json:"measured"`
	Unit     string  `json:"unit"`
	// Peer is who Ratio compares with; empty for absolute figures.
	Peer    string  `json:"peer,omitempty"`
	PeerHas float64 `json:"peerHas,omitempty"`
	Ratio   float64 `json:"ratio,omitempty"`
	// AtMost and AtLeast are the goal for Ratio where there is a peer, else for
	// Measured. Zero is a goal of exactly 0. Without any: for information.
	AtMost  float64 `json:"atMost,omitempty"`
	AtLeast float64 `json:"atLeast,omitempty"`
	Zero    bool    `json:"zero,omitempty"`
}

func (r row) value() float64 {
	if r.Peer != "" {
		return r.Ratio
	}
	return r.Measured
}

func (r row) verdict() string {
	switch {
	case r.AtMost == 0 && r.AtLeast == 0 && !r.Zero:
		return ""
	case r.Zero && r.Measured != 0, r.AtMost != 0 && r.value() > r.AtMost, r.AtLeast != 0 && r.value() < r.AtLeast:
		return "missed"
	}
	return "met"
}

func (r row) goal() string {
	switch {
	case r.Zero:
		return "0"
	case r.AtMost != 0:
		return fmt.Sprintf("≤ %.4g", r.AtMost)
	case r.AtLeast != 0:
		return fmt.Sprintf("≥ %.4g", r.AtLeast)
	}
	return ""
}

// against compares a figure with a peer's.
func against(part, figure string, measured float64, unit, peer string, peerHas, atMost float64) row {
	return row{Part: part, Figure: figure, Measured: measured, Unit: unit, Peer: peer, PeerHas: peerHas, Ratio: measured / peerHas, AtMost: atMost}
}

// bench is what every part is measured with.
type bench struct {
	bin    string        // folder of our binaries
	dir    string        // scratch
	rounds int           // of which the median is taken
	length time.Duration // of one round
	log    io.Writer
	rows   []row
}

func (b *bench) add(rows ...row) {
	for _, r := range rows {
		fmt.Fprintf(b.log, "  %s: %s %.4g %s\n", r.Part, r.Figure, r.Measured, r.Unit)
	}
	b.rows = append(b.rows, rows...)
}

// run measures the parts whose names begin with an argument, or all of them.
func run(ctx context.Context, args []string, out, log io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	b := &bench{log: log}
	flags.StringVar(&b.bin, "bin", "bin", "folder of the binaries that make build makes")
	flags.IntVar(&b.rounds, "rounds", 3, "rounds, of which the median is taken")
	flags.DurationVar(&b.length, "length", 5*time.Second, "length of a round")
	jsonFile := flags.String("json", "dist/bench.json", "write the figures as JSON to this file, too")
	if err := flags.Parse(args); err != nil {
		return err
	}
	debug.SetGCPercent(400) // what the bench itself uses is taken from those it measures
	dir, err := os.MkdirTemp("", "speedscale-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b.dir = dir
	parts := []struct {
		name    string
		measure func(context.Context, *bench) error
	}{
		{"sidecar-cpu", sidecarCPU}, {"sidecar-latency", sidecarLatency}, {"sidecar-idle", sidecarIdle},
		{"sidecar-restart", sidecarRestart}, {"sidecar-overload", sidecarOverload}, {"sidecar-tls", sidecarTLS},
		{"forwarder", forwarder}, {"responder", responder},
		{"generator-cpu", generatorCPU}, {"generator-latency", generatorLatency}, {"archive", archive},
	}
	var failed error
	for _, p := range parts {
		if flags.NArg() > 0 && !slices.ContainsFunc(flags.Args(), func(named string) bool { return strings.HasPrefix(p.name, named) }) {
			continue
		}
		fmt.Fprintf(log, "%s…\n", p.name)
		if err := p.measure(ctx, b); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", p.name, err))
		}
	}
	return errors.Join(failed, b.print(out), b.writeJSON(*jsonFile))
}

func (b *bench) print(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PART\tFIGURE\tMEASURED\tPEER\tRATIO\tGOAL\t")
	for _, r := range b.rows {
		peer, ratio := "", ""
		if r.Peer != "" {
			peer, ratio = fmt.Sprintf("%s %.4g", r.Peer, r.PeerHas), fmt.Sprintf("%.2f", r.Ratio)
		}
		fmt.Fprintf(t, "%s\t%s\t%.4g %s\t%s\t%s\t%s\t%s\n", r.Part, r.Figure, r.Measured, r.Unit, peer, ratio, r.goal(), r.verdict())
	}
	return t.Flush()
}

func (b *bench) writeJSON(file string) error {
	data, err := json.MarshalIndent(b.rows, "", "  ")
	if err != nil {
		return err
	}
	if i := strings.LastIndexByte(file, '/'); i > 0 {
		if err := os.MkdirAll(file[:i], 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}

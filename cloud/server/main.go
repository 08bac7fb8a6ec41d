package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"

	"github.com/speedscale/speedscale/cloud/archive"
	"github.com/speedscale/speedscale/cloud/ingest"
)

// memoryLimit is what the garbage collector works harder to stay within, in bytes,
// where GOMEMLIMIT says nothing: some segments on their way, twice over. Without it
// a machine that is short of CPU lets garbage pile up.
const memoryLimit = 400 << 20

// Main runs a cloud with the settings of its flags, and where those are not given
// of the environment, until ctx ends. It prints the first API key of a new cloud
// once.
func Main(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) error {
	o, err := settings(args, getenv, stderr)
	if err != nil {
		return err
	}
	if getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	s, err := Open(ctx, o)
	if err != nil {
		return err
	}
	if key := s.InitialKey(); key != "" {
		fmt.Fprintf(stderr, "the first API key, which is shown this once: %s\n", key)
	}
	return s.Run(ctx)
}

// settings is all that the binary reads from outside.
func settings(args []string, getenv func(string) string, stderr io.Writer) (Options, error) {
	var o Options
	var cert, key, level string
	fs := flag.NewFlagSet("cloud", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.DataDir, "data", cmp.Or(getenv("CLOUD_DATA"), "/var/lib/speedscale"), "`folder` of all data (CLOUD_DATA)")
	fs.StringVar(&o.Listen, "listen", cmp.Or(getenv("CLOUD_LISTEN"), ":8080"), "`address` of the API, and of the bus by WebSocket (CLOUD_LISTEN)")
	fs.StringVar(&o.BusListen, "bus-listen", getenv("CLOUD_BUS_LISTEN"), "`address` of the bus for nats clients; none when empty (CLOUD_BUS_LISTEN)")
	fs.StringVar(&o.BucketURL, "bucket", getenv("CLOUD_BUCKET"), "`URL` of the archive's bucket, file:///FOLDER; a folder below -data when empty (CLOUD_BUCKET)")
	fs.StringVar(&cert, "tls-cert", getenv("CLOUD_TLS_CERT"), "PEM `file` with the certificate chain (CLOUD_TLS_CERT)")
	fs.StringVar(&key, "tls-key", getenv("CLOUD_TLS_KEY"), "PEM `file` with its key (CLOUD_TLS_KEY)")
	fs.StringVar(&o.KeysDir, "keys", getenv("CLOUD_KEYS"), "`folder` with the API keys admin and operator, instead of a first key that is printed (CLOUD_KEYS)")
	fs.BoolVar(&o.SyncAlways, "sync-always", getenv("CLOUD_SYNC_ALWAYS") == "true", "have each acknowledged batch on the disk, also after a loss of power (CLOUD_SYNC_ALWAYS=true)")
	fs.StringVar(&level, "log-level", cmp.Or(getenv("CLOUD_LOG_LEVEL"), "info"), "debug, info, warn or error (CLOUD_LOG_LEVEL)")
	age := fs.Duration("retention", 0, "how long pairs are kept; 0 is 7 days, negative for ever")
	maxBytes := fs.Int64("retention-bytes", 0, "how many `bytes` the archive may hold; 0 is 80 % of the volume, negative no bound")
	reserve := fs.Int64("reserve", 0, "how many `bytes` of the volume are left free; 0 is a twentieth, at most 512 MiB")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("argument %q is not understood; -h shows the flags", fs.Arg(0))
	}
	o.Retention = archive.Retention{Age: *age, MaxBytes: *maxBytes}
	o.Ingest = ingest.Options{Reserve: *reserve}
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return o, fmt.Errorf("-log-level %q is not debug, info, warn or error", level)
	}
	o.Logger = slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: l}))
	switch {
	case (cert == "") != (key == ""):
		return o, errors.New("-tls-cert and -tls-key go together")
	case cert != "":
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return o, fmt.Errorf("-tls-cert %q: %w", cert, err)
		}
		o.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	return o, nil
}

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"strings"
)

// options say what is written where.
type options struct {
	// dir is the root file system, out the archive.
	dir, out string
	// tag is the image's full name with registry and tag.
	tag string
	// entrypoint is the command, as exec takes it.
	entrypoint []string
	// user is UID:GID or empty for root.
	user string
	// arch is the architecture of its programs, as GOARCH names it.
	arch string
	// env has NAME=VALUE pairs.
	env []string
	// workdir is the working directory; empty is /.
	workdir string
	// owners keeps the owners of the files.
	owners bool
}

// run writes the image that the arguments ask for.
func run(args []string, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	return write(o)
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("image", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprintln(stderr, "usage: image [FLAG...] DIR TAG OUT.tar ENTRYPOINT [ARG...]")
		fs.PrintDefaults()
	}
	fs.StringVar(&o.user, "user", "", "run as `UID:GID` (default root)")
	fs.StringVar(&o.workdir, "workdir", "", "start in `DIR` of the image (default /)")
	fs.StringVar(&o.arch, "arch", runtime.GOARCH, "be for `GOARCH`")
	fs.BoolVar(&o.owners, "owners", false, "keep the owners of the files, as a root file system of debootstrap needs (default all belong to root)")
	fs.Func("env", "set `NAME=VALUE` in the environment; repeatable", func(v string) error {
		if name, _, ok := strings.Cut(v, "="); !ok || name == "" {
			return errors.New("want NAME=VALUE")
		}
		o.env = append(o.env, v)
		return nil
	})
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() < 4 {
		fs.Usage()
		return o, fmt.Errorf("got %d arguments, want at least 4", fs.NArg())
	}
	if o.user != "" && !regexp.MustCompile(`^[0-9]+:[0-9]+$`).MatchString(o.user) {
		return o, fmt.Errorf("--user %q: want numbers as in 2100:2100, which runAsNonRoot can check", o.user)
	}
	o.dir, o.out, o.entrypoint = fs.Arg(0), fs.Arg(2), fs.Args()[3:]
	tag, err := fullName(fs.Arg(1))
	o.tag = tag
	return o, err
}

// fullName completes an image name as the container runtime does for the image of
// a pod: without a registry it is one of docker.io.
func fullName(tag string) (string, error) {
	const part = `[a-z0-9]+(?:[._-]+[a-z0-9]+)*`
	valid := regexp.MustCompile(`^(?:[a-zA-Z0-9.-]+(?::[0-9]+)?/)?` + part + `(?:/` + part + `)*:[\w][\w.-]{0,127}$`)
	if !valid.MatchString(tag) {
		return "", fmt.Errorf("image name %q: want NAME:TAG, as in speedscale/goproxy:v1", tag)
	}
	first, _, slash := strings.Cut(tag, "/")
	switch {
	case !slash:
		return "docker.io/library/" + tag, nil
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		return "docker.io/" + tag, nil
	}
	return tag, nil
}

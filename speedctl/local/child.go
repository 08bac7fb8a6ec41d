package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/speedscale/speedscale/speedctl/term"
)

// stopGrace is how long a command may take to end after SIGTERM.
const stopGrace = 10 * time.Second

// Child is a command that was started beside the proxy. Its standard output and
// error are the user's.
type Child struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// startChild starts argv with env. The child ends when ctx does.
func startChild(ctx context.Context, w *term.World, argv, env []string) (*Child, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	if argv[0] == w.Self {
		cmd.Args[0] = w.Name // A program that is linked under several names goes by this one.
	}
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = w.In, w.Out, w.Err
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopGrace
	if err := cmd.Start(); err != nil {
		return nil, term.WithCode(fmt.Errorf("start %q: %w", argv[0], err), term.ExitUsage)
	}
	c := &Child{cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = cmd.Wait()
	}()
	return c, nil
}

// Done is closed when the child has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err is how the child ended: nil, or an error with its exit code. It is valid
// after Done.
func (c *Child) Err() error {
	if exit, ok := errors.AsType[*exec.ExitError](c.err); ok {
		code := exit.ExitCode()
		if code < 0 {
			code = term.ExitError
		}
		return term.WithCode(fmt.Errorf("%q ended with %v", c.cmd.Path, exit.ProcessState), code)
	}
	return c.err
}

// Stop ends the child and waits for it.
func (c *Child) Stop() {
	select {
	case <-c.done:
		return
	default:
	}
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil {
		c.cmd.Process.Kill() // Windows cannot interrupt another process.
	}
	select {
	case <-c.done:
	case <-time.After(stopGrace):
		c.cmd.Process.Kill()
		<-c.done
	}
}

// WaitListening returns when something accepts connections on addr, the child
// has ended, or the limit has passed.
func (c *Child) WaitListening(ctx context.Context, addr string, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("nothing listens on %s after %v", addr, limit))
	defer cancel()
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-c.done:
			return errors.Join(fmt.Errorf("%q ended before it listened on %s", c.cmd.Path, addr), c.Err())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// proxyEnv adds the variables by which clients find their proxy, in the forms
// that curl, Go, Python and Node read. Hosts that the user excluded stay so; where
// none are, localhost is, as most clients have it by themselves.
func proxyEnv(env []string, addr net.Addr) []string {
	url := "http://" + addr.String()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY"} {
		env = setEnv(env, name, url)
		env = setEnv(env, strings.ToLower(name), url)
	}
	if !slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(strings.ToUpper(kv), "NO_PROXY=") }) {
		env = append(env, "NO_PROXY=localhost,127.0.0.1,::1", "no_proxy=localhost,127.0.0.1,::1")
	}
	return setEnv(env, "NODE_USE_ENV_PROXY", "1")
}

// addEnv adds NAME=VALUE, in place of one that is there.
func addEnv(env []string, kv string) []string {
	name, value, _ := strings.Cut(kv, "=")
	return setEnv(env, name, value)
}

func setEnv(env []string, name, value string) []string {
	out := make([]string, 0, len(env)+1)
	for _, e := range env {
		if !strings.HasPrefix(e, name+"=") {
			out = append(out, e)
		}
	}
	return append(out, name+"="+value)
}

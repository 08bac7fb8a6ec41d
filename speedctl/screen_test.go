package main

import (
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// terminal starts a command on a terminal of its own, that of tmux: terminal WxH COMMAND
// [ARG…]. It ends what another one runs.
func terminal(ts *testscript.TestScript, _ bool, args []string) {
	width, height, ok := strings.Cut(args[0], "x")
	if !ok || len(args) < 2 {
		ts.Fatalf("usage: terminal WxH COMMAND [ARG…]")
	}
	if ts.Getenv("TERMINAL") != "" {
		ts.Check(tmux(ts, "kill-server"))
	}
	ts.Setenv("TERMINAL", ts.Getenv("TERMINAL")+"t") // another name, since that one may still be ending
	ts.Setenv("TMUX_TMPDIR", ts.Getenv("WORK"))
	ts.Setenv("LC_ALL", "C.UTF-8")
	quoted := make([]string, len(args)-1)
	for i, a := range args[1:] {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	ts.Check(tmux(ts, "-f", "/dev/null", "new-session", "-d", "-x", width, "-y", height, strings.Join(quoted, " ")+"; echo 'exit code' $?; sleep 600"))
	ts.Defer(func() { tmux(ts, "kill-server") })
}

func tmux(ts *testscript.TestScript, args ...string) error {
	return ts.Exec("tmux", append([]string{"-L", ts.Getenv("TERMINAL")}, args...)...)
}

// resize changes the size of the terminal: resize WxH.
func resize(ts *testscript.TestScript, _ bool, args []string) {
	width, height, _ := strings.Cut(args[0], "x")
	ts.Check(tmux(ts, "resize-window", "-x", width, "-y", height))
}

// keys presses keys by their names, such as Enter, and types what is no name: keys KEY….
func keys(ts *testscript.TestScript, _ bool, args []string) {
	for _, key := range args {
		ts.Check(tmux(ts, "send-keys", key))
	}
}

// sees waits until something is on the terminal: sees REGEXP….
func sees(ts *testscript.TestScript, neg bool, args []string) {
	for _, text := range args {
		want := regexp.MustCompile("(?m)" + text)
		screen := ""
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			ts.Check(tmux(ts, "capture-pane", "-p"))
			if screen = ts.ReadFile("stdout"); want.MatchString(screen) != neg {
				break
			}
			if time.Now().After(deadline) {
				ts.Fatalf("%q after a minute (want it: %v); the screen is\n%s", text, !neg, screen)
			}
		}
	}
}

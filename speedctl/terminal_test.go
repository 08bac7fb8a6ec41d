package main

import (
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// tmux runs tmux, with a server of the script's own.
func tmux(ts *testscript.TestScript, args ...string) (string, error) {
	cmd := exec.Command("tmux", append([]string{"-u", "-f", "/dev/null", "-S", ts.MkAbs(ts.Getenv("TERMINAL"))}, args...)...)
	for _, name := range []string{"PATH", "HOME", "SPEEDSCALE_HOME", "NO_COLOR"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	cmd.Dir = ts.MkAbs(".")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// terminal runs a shell command in a terminal of a size, and says how it exits: terminal
// COLUMNS ROWS COMMAND. Only one runs at a time.
func terminal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: terminal COLUMNS ROWS COMMAND")
	}
	if ts.Getenv("TERMINAL") != "" {
		tmux(ts, "kill-server") // that of the command before, which takes a while to go
	}
	ts.Setenv("TERMINAL", "tmux-"+strconv.FormatInt(time.Now().UnixNano(), 36))
	out, err := tmux(ts, "new-session", "-d", "-x", args[0], "-y", args[1], args[2]+`; echo "exit code $?"; sleep 60`)
	if err != nil {
		ts.Fatalf("%v: %s", err, out)
	}
	ts.Defer(func() { tmux(ts, "kill-server") })
}

// press presses keys, by tmux's names: press KEY…
func press(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: press KEY…")
	}
	if out, err := tmux(ts, append([]string{"send-keys"}, args...)...); err != nil {
		ts.Fatalf("%v: %s", err, out)
	}
}

// shows waits until the terminal shows what matches: [!] shows REGEXP.
func shows(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] shows REGEXP")
	}
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var screen string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if screen, err = tmux(ts, "capture-pane", "-p"); err == nil && re.MatchString(screen) != neg {
			ts.Logf("%s", strings.TrimRight(screen, "\n"))
			return
		}
	}
	ts.Fatalf("after 20 seconds the terminal shows\n%s", screen)
}

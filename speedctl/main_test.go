package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mccutchen/go-httpbin/v2/httpbin"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"speedctl": main, "kubectl-speedscale": main, "httpbin": serveHTTPBin})
}

// TestScript runs the user stories in testdata/script against the real program.
func TestScript(t *testing.T) {
	kubectl := findKubectl()
	plugins, err := filepath.Abs("../completions") // has kubectl_complete-speedscale
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("SPEEDSCALE_HOME", e.WorkDir+"/home")
			e.Setenv("NO_COLOR", "1")
			e.Setenv("PATH", strings.Join([]string{e.Getenv("PATH"), kubectl, plugins}, string(filepath.ListSeparator)))
			for _, name := range []string{"APP", "IN", "OUT"} {
				port, err := freePort()
				if err != nil {
					return err
				}
				e.Setenv(name, port)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "listens": listens, "completes": completes,
			"terminal": terminal, "resize": resize, "keys": keys, "sees": sees,
		},
	})
}

// findKubectl is the folder of the test node's kubectl, for where the PATH has none.
func findKubectl() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "kubenode", "bin")
}

// exits runs a command and wants its exit code: exits CODE COMMAND [ARG…].
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// completes wants a line of a completion: completes REGEXP ARG…. It asks again for a minute,
// since on a busy machine a cloud may not answer within the limit of a completion.
func completes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: completes REGEXP ARG…")
	}
	want := regexp.MustCompile("(?m)" + args[0])
	for deadline := time.Now().Add(time.Minute); ; {
		ts.Check(ts.Exec("speedctl", append([]string{"__complete"}, args[1:]...)...))
		said := ts.ReadFile("stdout")
		if want.MatchString(said) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%q completes to\n%s\nwant %s", args[1:], said, want)
		}
	}
}

// listens waits until something listens on a port: listens PORT.
func listens(ts *testscript.TestScript, _ bool, args []string) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", "127.0.0.1:"+args[0]); err == nil {
			c.Close()
			return
		}
	}
	ts.Fatalf("nothing listens on port %s", args[0])
}

// serveHTTPBin is go-httpbin on the port that its argument names, for ten minutes.
func serveHTTPBin() {
	time.AfterFunc(10*time.Minute, func() { os.Exit(3) })
	fmt.Fprintln(os.Stderr, http.ListenAndServe("127.0.0.1:"+os.Args[1], httpbin.New().Handler()))
	os.Exit(1)
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

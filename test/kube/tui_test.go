package kube

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// screenToVerdict drives the screen of a replay with keys, as a user does in a terminal, of
// a version that differs. SPEEDSCALE_SCREENS is a folder where what is seen is left.
func screenToVerdict(s *shop, columns, rows string) {
	t := s.terminal(columns, rows, "replay", "deployment/web", "-n", s.ns, "--snapshot", "web", "--test-config", "slow")
	t.shows(`Start the replay\? \[y/N\]`)
	t.press("y", "Enter")
	t.shows(`^Replay web → deployment/web in shop-[0-9]+ +running`)
	t.shows(`^✓ prepare +..:..:.. +00:`)
	t.shows(`^✓ responder +..:..:.. .*speedscale-responder-`)
	t.shows(`^✓ workload +..:..:.. .* web-`)
	t.shows(`^● generator +..:..:.. .*speedscale-generator-`)
	t.shows(`^▸ +[0-9]+\+? +GET /orders`)
	t.shows(`^requests/s +[0-9]+ +[▁-█]+`)
	t.shows(`mocks [0-9,]+ +matched`)
	t.shows(`Pods of the workload`)
	t.capture("running")
	t.press("Enter")
	t.shows(`Failing pair 1 of`)
	t.shows(`^≠ body\.`)
	t.capture("pair")
	t.press("Escape")
	t.shows(`Failing endpoints: `)
	t.press("l")
	t.shows(`─ Log and events: [1-9]`)
	t.press("/", "Pulled", "Enter") // an event of Kubernetes that each pod has
	t.shows(`^filter: Pulled`)
	t.capture("log")
	t.press("Escape")
	t.shows(`^no filter`)
	t.press("Escape")
	t.shows(`^Replay .* Missed Goals +0`)
	t.shows(`✗|differ`)
	t.shows(`reports?[/ ][0-9a-f-]{8}`)
	t.capture("missed")
	t.press("q")
	t.shows(`^exit code 3$`)
	s.nothingLeft()
}

func screenCanceled(s *shop) {
	t := s.terminal("80", "24", "replay", "deployment/web", "-n", s.ns, "--snapshot", "web", "--test-config", "slow", "--yes")
	t.shows(`^● generator`)
	t.press("C-c")
	t.shows(`^Cancel the replay\? The workloads become as before\. +y cancel it`)
	t.capture("cancel")
	t.press("n")
	t.shows(`c cancel`)
	t.press("c")
	t.shows(`^Cancel the replay\?`)
	t.press("y")
	t.shows(`^Replay .* Canceled +0`)
	t.press("q")
	t.shows(`^exit code 130$`)
	s.nothingLeft()
}

// terminal is speedctl in a tmux of its own.
type terminal struct {
	c              *cluster
	socket, suffix string
}

func (c *cluster) terminal(columns, rows string, args ...string) *terminal {
	c.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		c.Skipf("SKIPPED: %v", err)
	}
	program, err := filepath.Abs(speedctl)
	if err != nil {
		c.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "terminal") // a socket's path is short
	if err != nil {
		c.Fatal(err)
	}
	t := &terminal{c: c, socket: filepath.Join(dir, "tmux"), suffix: "-" + columns + "x" + rows + ".txt"}
	c.Cleanup(func() { t.tmux("kill-server"); os.RemoveAll(dir) })
	out, err := t.tmux("new-session", "-d", "-x", columns, "-y", rows, "env -u CI "+program+" "+strings.Join(args, " ")+`; echo "exit code $?"; sleep 60`)
	if err != nil {
		c.Fatalf("tmux: %v\n%s", err, out)
	}
	return t
}

func (t *terminal) tmux(args ...string) (string, error) {
	cmd := exec.Command("tmux", append([]string{"-u", "-f", "/dev/null", "-S", t.socket}, args...)...)
	cmd.Env = append(t.c.env, "NO_COLOR=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (t *terminal) press(keys ...string) {
	t.c.Helper()
	if out, err := t.tmux(append([]string{"send-keys"}, keys...)...); err != nil {
		t.c.Fatalf("tmux: %v\n%s", err, out)
	}
}

// shows waits four minutes for what matches.
func (t *terminal) shows(expression string) {
	t.c.Helper()
	re := regexp.MustCompile("(?m)" + expression)
	var screen string
	for deadline := time.Now().Add(4 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if screen, _ = t.tmux("capture-pane", "-p"); re.MatchString(screen) {
			return
		}
	}
	t.c.Fatalf("the terminal does not show %s:\n%s\n%s", expression, screen, t.c.kubectl("get", "trafficreplays,pods,events", "-A"))
}

// capture leaves what is shown in the folder of SPEEDSCALE_SCREENS, if there is one.
func (t *terminal) capture(name string) {
	t.c.Helper()
	dir := os.Getenv("SPEEDSCALE_SCREENS")
	if dir == "" {
		return
	}
	screen, err := t.tmux("capture-pane", "-p")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "replay-cluster-"+name+t.suffix), []byte(screen), 0o644)
	}
	if err != nil {
		t.c.Errorf("capture: %v", err)
	}
}

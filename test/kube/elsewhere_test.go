package kube

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/speedscale/speedscale/test/privateca"
	"github.com/speedscale/speedscale/traffic/report"
)

const (
	// nodeIP is the address of the test node (test/kubenode), on which a cloud elsewhere
	// runs as a process, and farUser its user, by which its packets are known.
	nodeIP  = "198.18.255.1"
	farUser = 64123
	// farTable is the packet filter's table of this test.
	farTable = "speedscale-elsewhere"
)

// elsewhere has the cluster use a cloud that is not in it, with a certificate of a private
// CA, while no connection can be opened from the cloud's side to the cluster: data, control
// and replays work all the same. Then the cluster goes back to its own cloud. It comes
// after networkPolicies, since other connections are needed while it runs.
func elsewhere(c *cluster) {
	if os.Getuid() != 0 {
		c.Skip("SKIPPED: a cloud with a user of its own, and packet filter rules, need root")
	}
	usesFarCloud(c)
	c.eventually("the inspector does not come back", func() bool { return strings.Contains(c.speedctl("infra", "inspectors"), "e2e") })
	c.capturesAgain("for the cluster's own cloud")
}

// usesFarCloud has the cluster use a cloud on the node, and go back whatever happens.
func usesFarCloud(c *cluster) {
	c.Helper()
	f := startFarCloud(c)
	f.shutIn(c)
	far := f.user
	far.install("--app-url", f.url, "--api-key", far.speedctl("create", "api-key", "--name", "operator", "--scopes", "ingest,control", "-q"), "--app-ca", f.files.CA)
	defer c.install() // which goes back to the cluster's own cloud
	if out := far.speedctl("install"); !strings.Contains(out, "It sends to "+f.url+", as before") {
		c.Errorf("a second installation says\n%s", out)
	}
	far.eventually("the inspector does not connect to the cloud elsewhere", func() bool { return strings.Contains(far.speedctl("infra", "inspectors"), "e2e") })

	// Control.
	if out := far.speedctl("infra", "workloads", "-n", "speedscale"); !strings.Contains(out, "java-server") {
		c.Errorf("workloads are\n%s", out)
	}
	// Data, of the demo with its outbound TLS, and by an app that is injected from there.
	demo(far)
	dependencies(c)
	s := openShop(c, "shop")
	far.speedctl("infra", "sidecar", "add", "deployment/web", "-n", "shop")
	c.eventually("the pods have no sidecar", func() bool { return c.containers("shop", "web") == "speedscale-goproxy nginx speedscale-goproxy nginx" })
	s.drive()
	far.eventually("not all pairs are in the cloud elsewhere", func() bool { list, _ := far.traffic("web"); return len(list) >= 2*driven })

	// A replay, with its report on a page of the cloud.
	far.speedctl("create", "snapshot", "--name", "web", "--service", "web")
	r, code := far.replay("shop", "deployment/web", "web", "-c", "far", "--name", "far")
	if code != 0 || r.Status != report.Passed || r.Requests.Passed != driven || r.Mocks == nil || r.Mocks.Matched < driven {
		c.Errorf("the replay: exit code %d, %s", code, describe(r))
	}
	s.kubectl("set", "image", "deployment/web", "nginx=docker.io/speedscale-test/web:2")
	s.rollout("shop", "deployment/web")
	restore := c.withoutDependencies()
	if other, code := far.replay("shop", "deployment/web", "web", "-c", "far"); code != 3 || other.Status != report.MissedGoals || other.Requests.Failed != roundsDriven {
		c.Errorf("the replay of another version: exit code %d, %s", code, describe(other))
	}
	restore()
	page := c.kubectl("-n", "shop", "get", "trafficreplay", "far", "-o", "jsonpath={.status.reportURL}")
	if page != f.url+"/reports/"+r.ID {
		c.Errorf("reportURL is %q", page)
	}
	if out, err := c.try("curl", "-fsS", "--cacert", f.files.CA, "-u", "me:"+f.key, page); err != nil || !strings.Contains(out, "<!DOCTYPE html>") {
		c.Errorf("the report's page: %v\n%s", err, out)
	}
	c.nothingLeft("shop")
}

// farCloud is a cloud on the node, and user somebody whose speedctl means it.
type farCloud struct {
	url, key, dir string
	files         privateca.Files
	user          *cluster
}

func startFarCloud(c *cluster) *farCloud {
	c.Helper()
	dir, err := os.MkdirTemp("", "speedscale-elsewhere-")
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { os.RemoveAll(dir) })
	f := &farCloud{dir: dir, files: privateca.New(c.T, nodeIP)}
	for from, to := range map[string]string{"../../bin/cloud": "cloud", f.files.Cert: "tls.crt", f.files.Key: "tls.key"} {
		f.copy(c, from, to)
	}
	if err := os.Chown(dir, farUser, farUser); err != nil {
		c.Fatal(err)
	}
	l, err := net.Listen("tcp", nodeIP+":0")
	if err != nil {
		c.Skipf("SKIPPED: this machine is not the cluster's node, %s: %v", nodeIP, err)
	}
	address := l.Addr().String()
	l.Close()
	f.url = "https://" + address
	f.key = f.start(c, address)

	home := c.TempDir()
	f.user = &cluster{T: c.T, version: c.version, env: append(os.Environ(), "SPEEDSCALE_HOME="+home)}
	f.user.speedctl("init", "--app-url", f.url, "--api-key", f.key, "--ca", f.files.CA, "--name", "far")
	return f
}

// copy puts a file where the cloud's user can read it.
func (f *farCloud) copy(c *cluster, from, to string) {
	c.Helper()
	data, err := os.ReadFile(from)
	to = filepath.Join(f.dir, to)
	if err == nil {
		err = os.WriteFile(to, data, 0o500)
	}
	if err == nil {
		err = os.Chown(to, farUser, farUser)
	}
	if err != nil {
		c.Fatal(err)
	}
}

// start runs the cloud until the test ends, and returns its first key.
func (f *farCloud) start(c *cluster, listen string) string {
	c.Helper()
	logged := filepath.Join(c.TempDir(), "cloud.log")
	log, err := os.Create(logged)
	if err != nil {
		c.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(f.dir, "cloud"), "-data", filepath.Join(f.dir, "data"), "-listen", listen,
		"-tls-cert", filepath.Join(f.dir, "tls.crt"), "-tls-key", filepath.Join(f.dir, "tls.key"))
	cmd.Dir, cmd.Stderr = f.dir, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: farUser, Gid: farUser}}
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil || c.Failed() {
			text, _ := os.ReadFile(logged) // it is all that is known
			c.Logf("the cloud elsewhere ended with %v\n%s", err, text)
		}
		log.Close()
	})
	printed := regexp.MustCompile(`shown this once: (\S+)\n`)
	var key []string
	c.eventually("the cloud elsewhere prints no key", func() bool {
		text, err := os.ReadFile(logged)
		key = printed.FindStringSubmatch(string(text))
		return err == nil && key != nil && strings.Contains(string(text), "cloud is up")
	})
	return key[1]
}

// shutIn drops each new connection that the cloud's user opens, other than within the
// machine's loopback, until the test ends. Answers on connections of others pass.
func (f *farCloud) shutIn(c *cluster) {
	c.Helper()
	remove := func() { exec.Command("nft", "delete", "table", "inet", farTable).Run() }
	remove() // of a run that was killed
	cmd := exec.CommandContext(c.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(`table inet ` + farTable + ` {
	chain out {
		type filter hook output priority 0; policy accept;
		meta skuid ` + strconv.Itoa(farUser) + ` oifname != "lo" ct state new counter drop
		meta skuid ` + strconv.Itoa(farUser) + ` ip daddr 198.18.0.0/15 ct state new counter drop
	}
}`)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.Fatalf("nft, of Debian's package nftables: %v\n%s", err, out)
	}
	c.Cleanup(remove)
	// That the rules hold is not taken for granted: root reaches the API server, and the cloud's user does not.
	service := net.JoinHostPort(c.clusterIP("default", "kubernetes"), "443")
	for uid, want := range map[uint32]bool{0: true, farUser: false} {
		if got := connects(c.T, uid, service); got != want {
			c.Fatalf("user %d connects to the cluster: %v, want %v", uid, got, want)
		}
	}
}

// connects says whether a user can open a connection.
func connects(t *testing.T, uid uint32, address string) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "curl", "-sS", "-m", "3", "-k", "-o", os.DevNull, "https://"+address+"/version")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Logf("user %d: curl ended with %d: %s", uid, exit.ExitCode(), out)
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

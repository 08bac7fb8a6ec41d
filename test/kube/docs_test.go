package kube

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/speedscale/speedscale/test/docs"
)

// guidePage is how long the commands of a page may take.
const guidePage = 10 * time.Minute

// TestGuides runs what the documentation shows for a cluster, as a reader types it, with an
// installation made for it. The quick start comes last: it installs and uninstalls itself.
func TestGuides(t *testing.T) {
	c := newCluster(t)
	if os.Getenv("SPEEDSCALE_E2E_GUIDES") == "" {
		t.Skip("SKIPPED: the guides take minutes of their own: make cluster-guides runs them")
	}
	c.install()
	c.kubectl("-n", "speedscale", "wait", "deployment/java-server", "--for=create", "--timeout=3m")
	c.rollout("speedscale", "deployment/java-server")
	pages, err := docs.Pages("../../docs")
	if err != nil {
		c.Fatal(err)
	}
	const quickstart = "quickstart.md"
	last := slices.IndexFunc(pages, func(p docs.Page) bool { return p.Name == quickstart })
	if last < 0 {
		c.Fatalf("%s is not there", quickstart)
	}
	for _, p := range append(slices.Delete(slices.Clone(pages), last, last+1), pages[last]) {
		blocks := p.At(docs.Cluster)
		if len(blocks) == 0 {
			continue
		}
		c.run(p.Name, func(c *cluster) {
			if p.Name == quickstart {
				c.speedctl("uninstall", "--force", "--yes", "--delete-data")
				c.kubectl("delete", "namespace", "speedscale", "speedscale-cloud", "speedscale-demo", "--ignore-not-found", "--timeout=3m")
				c.kubectl("delete", "crd", "trafficreplays.speedscale.com", "--ignore-not-found", "--timeout=1m")
			}
			output, err := c.follow(docs.Script(blocks))
			for _, problem := range p.Check(blocks, output) {
				c.Error(problem)
			}
			if err != nil {
				c.Errorf("%v\n%s", err, output)
			}
		})
	}
}

// follow runs a script in bash, with a speedctl that knows where the test node's images are,
// and returns what it printed.
func (c *cluster) follow(script string) (string, error) {
	c.Helper()
	bin, err := filepath.Abs(speedctl)
	if err != nil {
		c.Fatal(err)
	}
	home, programs, work := c.TempDir(), c.TempDir(), c.TempDir()
	files := map[string]string{programs + "/speedctl": wrapper(bin), work + "/.script": script}
	for file, text := range files {
		if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
			c.Fatal(err)
		}
	}
	out, err := os.Create(home + "/output")
	if err != nil {
		c.Fatal(err)
	}
	defer out.Close()
	cmd := exec.CommandContext(c.Context(), "bash", work+"/.script")
	cmd.Dir, cmd.Stdout, cmd.Stderr = work, out, out
	cmd.Env = append(slices.Clone(c.env), "HOME="+home, "PATH="+programs+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	end := func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	limit := time.AfterFunc(guidePage, end)
	err = cmd.Wait()
	limit.Stop()
	end() // what is left in the background; there may be nothing
	text, readErr := os.ReadFile(out.Name())
	return string(text), errors.Join(err, readErr)
}

// wrapper is a speedctl that adds to what readers type where their images are, and what the
// test node needs.
func wrapper(bin string) string {
	const (
		images = "--set image.registry=docker.io/speedscale --set clusterName=e2e,networkPolicies.apiServer.ports={6443}"
		cloud  = "--cloud-set image.registry=docker.io/speedscale --cloud-set persistence.size=1Gi"
	)
	return fmt.Sprintf("#!/bin/bash\ncase $1 in\ninstall|upgrade) exec %[1]s \"$@\" %[2]s %[3]s ;;\n*) exec %[1]s \"$@\" ;;\nesac\n", bin, images, cloud)
}

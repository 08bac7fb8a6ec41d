package charts_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/operator/resource"
)

// TestAReleaseHasAllImages that the charts and the operator name, for each architecture: an
// image that is missing, the demo's too, is a pod that never starts.
func TestAReleaseHasAllImages(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("SKIPPED: there is no make")
	}
	out, err := exec.Command("make", "-C", "..", "--no-print-directory", "-n", "release-images", "VERSION=1.2.3").CombinedOutput()
	if err != nil {
		t.Fatalf("make -n release-images: %v\n%s", err, out)
	}
	images := []string{"goproxy", "initproxy", "forwarder", "inspector", resource.Generator, resource.Responder, resource.Collector, resource.JavaClient}
	for _, name := range []string{"speedscale-cloud", "speedscale-operator"} {
		manifests, err := render(load(t, name), "image: {registry: the.registry}")
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range manifests {
			for _, found := range regexp.MustCompile(`"the\.registry/([a-z-]+):`).FindAllStringSubmatch(text, -1) {
				images = append(images, found[1])
			}
		}
	}
	for _, image := range images {
		for _, arch := range []string{"amd64", "arm64"} {
			if want := "speedscale/" + image + ":1.2.3 dist/release-images/" + arch + "/" + image + ".tar"; !strings.Contains(string(out), want) {
				t.Errorf("%s is not made", want)
			}
		}
	}
}

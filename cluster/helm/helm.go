// Package helm puts charts into a cluster, and takes them out again. It is the only
// importer of Helm, so that nothing else depends on which major version that is.
package helm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"
	"helm.sh/helm/v3/pkg/strvals"
	"k8s.io/cli-runtime/pkg/genericclioptions"
)

// Release is a chart with values, under a name in a namespace.
type Release struct {
	Name, Namespace string
	// Chart is the chart's folder.
	Chart fs.FS
	// Version is the chart's appVersion, which its images have as their tag where the values
	// give none; "" leaves what the folder says.
	Version string
	// Values win over the chart's own.
	Values map[string]any
}

// Client installs releases. It is not safe for concurrent use.
type Client struct {
	// Getter finds the cluster, as kubectl does.
	Getter genericclioptions.RESTClientGetter
	// Log is told what Helm does, at debug level.
	Log *slog.Logger
}

// Set reads a value as --set of Helm does, into values.
func Set(text string, values map[string]any) error {
	if err := strvals.ParseInto(text, values); err != nil {
		return fmt.Errorf("--set %q: %w", text, err)
	}
	return nil
}

// SetString is Set, with a value that is a text whatever it looks like.
func SetString(text string, values map[string]any) error {
	if err := strvals.ParseIntoString(text, values); err != nil {
		return fmt.Errorf("--set-string %q: %w", text, err)
	}
	return nil
}

// SetFile reads a value as --set-file of Helm does, KEY=FILE, into values.
func SetFile(text string, values map[string]any) error {
	key, file, ok := strings.Cut(text, "=")
	if !ok {
		return fmt.Errorf("--set-file %q: want KEY=FILE", text)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("--set-file %q: %w", text, err)
	}
	content := func([]rune) (any, error) { return string(data), nil }
	if err := strvals.ParseIntoFile(key+"="+file, values, content); err != nil {
		return fmt.Errorf("--set-file %q: %w", text, err)
	}
	return nil
}

// Template renders a release without a cluster, for the oldest version of Kubernetes
// that the chart takes where version is empty.
func Template(ctx context.Context, r Release, version string) (manifests string, err error) {
	c, err := load(r)
	if err != nil {
		return "", err
	}
	install := action.NewInstall(&action.Configuration{Log: func(string, ...any) {}})
	install.ReleaseName, install.Namespace = r.Name, r.Namespace
	install.ClientOnly, install.DryRun, install.DryRunOption, install.IncludeCRDs = true, true, "client", true
	if version == "" {
		version = strings.TrimSuffix(strings.TrimLeft(c.Metadata.KubeVersion, ">=v "), "-0")
	}
	if install.KubeVersion, err = chartutil.ParseKubeVersion(version); err != nil {
		return "", fmt.Errorf("kubernetes version %q: %w", version, err)
	}
	done, err := install.RunWithContext(ctx, c, r.Values)
	if err != nil {
		return "", explain(r, err)
	}
	return done.Manifest, nil
}

// Apply installs or upgrades a release, and waits until what it made is ready. It is
// safe to repeat: one that was interrupted is taken up again.
func (c *Client) Apply(ctx context.Context, r Release, timeout time.Duration) (notes string, err error) {
	ch, err := load(r)
	if err != nil {
		return "", err
	}
	cfg, err := c.configuration(r.Namespace)
	if err != nil {
		return "", err
	}
	last, err := cfg.Releases.Last(r.Name)
	if err != nil && !errors.Is(err, driver.ErrReleaseNotFound) {
		return "", explain(r, err)
	}
	if last != nil && last.Info.Status.IsPending() {
		// Whoever began it was interrupted: Helm itself would wait for ever.
		if _, err := cfg.Releases.Delete(last.Name, last.Version); err != nil {
			return "", explain(r, err)
		}
		if last, err = cfg.Releases.Last(r.Name); err != nil && !errors.Is(err, driver.ErrReleaseNotFound) {
			return "", explain(r, err)
		}
	}
	var done *release.Release
	if last == nil {
		install := action.NewInstall(cfg)
		install.ReleaseName, install.Namespace, install.CreateNamespace = r.Name, r.Namespace, true
		install.Wait, install.Timeout = true, timeout
		install.TakeOwnership = true // of what an interrupted installation made
		done, err = install.RunWithContext(ctx, ch, r.Values)
	} else {
		upgrade := action.NewUpgrade(cfg)
		upgrade.Namespace, upgrade.Wait, upgrade.Timeout, upgrade.MaxHistory = r.Namespace, true, timeout, 10
		done, err = upgrade.RunWithContext(ctx, r.Name, ch, r.Values)
	}
	if err != nil {
		return "", explain(r, err)
	}
	return done.Info.Notes, nil
}

// Uninstall takes a release away, and waits until it is gone. It says whether there
// was one.
func (c *Client) Uninstall(name, namespace string, timeout time.Duration) (found bool, err error) {
	cfg, err := c.configuration(namespace)
	if err != nil {
		return false, err
	}
	// Helm's own IgnoreNotFound takes any error, such as a missing right, for a release that
	// is not there.
	_, err = cfg.Releases.History(name)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return false, nil
	}
	if err == nil {
		uninstall := action.NewUninstall(cfg)
		uninstall.Wait, uninstall.Timeout = true, timeout
		_, err = uninstall.Run(name)
	}
	if err != nil {
		return false, explain(Release{Name: name, Namespace: namespace}, err)
	}
	return true, nil
}

func (c *Client) configuration(namespace string) (*action.Configuration, error) {
	cfg := new(action.Configuration)
	log := func(format string, v ...any) { c.Log.Debug("helm", "says", fmt.Sprintf(format, v...)) }
	if err := cfg.Init(c.Getter, namespace, "secret", log); err != nil {
		return nil, fmt.Errorf("helm: %w", err)
	}
	return cfg, nil
}

// load reads a chart's files.
func load(r Release) (*chart.Chart, error) {
	var files []*loader.BufferedFile
	err := fs.WalkDir(r.Chart, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(r.Chart, path)
		files = append(files, &loader.BufferedFile{Name: path, Data: data})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("chart: %w", err)
	}
	c, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fmt.Errorf("chart: %w", err)
	}
	if r.Version != "" {
		c.Metadata.AppVersion = r.Version
	}
	return c, nil
}

func explain(r Release, err error) error {
	return fmt.Errorf("release %q in namespace %q: %w", r.Name, r.Namespace, err)
}

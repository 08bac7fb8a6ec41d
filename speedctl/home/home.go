// Package home keeps what speedctl remembers between runs: contexts with their
// addresses and keys, the local cloud's data, and pulled snapshots, all under
// ~/.speedscale (or SPEEDSCALE_HOME).
package home

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Local is the name of the context whose cloud runs on this machine, started
// by speedctl itself when it is needed.
const Local = "local"

// Dir is the folder.
type Dir string

// Context is a cloud and how to reach it.
type Context struct {
	Name string `json:"name"`
	// AppURL is the address of the cloud's API; empty for the local one.
	AppURL string `json:"app-url,omitempty"`
	// BusURL is the address of its bus; empty to derive it from AppURL.
	BusURL string `json:"bus-url,omitempty"`
	// APIKey is sent with each call.
	APIKey string `json:"apikey,omitempty"`
	// CA is a PEM file that verifies the cloud, beside the system's roots.
	CA string `json:"ca,omitempty"`
	// Cluster is where the cloud runs, in place of an AppURL: speedctl makes its own
	// way to it, and reads the key there where APIKey is empty.
	Cluster *Cluster `json:"cluster,omitempty"`
}

// Cluster names a cluster as kubectl does.
type Cluster struct {
	// Kubeconfig is a file; empty for kubectl's own choice.
	Kubeconfig string `json:"kubeconfig,omitempty"`
	// KubeContext is one of its contexts; empty for the current one.
	KubeContext string `json:"kube-context,omitempty"`
	// Namespace is the cloud's.
	Namespace string `json:"namespace"`
}

// IsLocal says that the cloud is the one of this machine.
func (c Context) IsLocal() bool { return c.AppURL == "" && c.Cluster == nil }

// Config is config.json.
type Config struct {
	CurrentContext string    `json:"current-context"`
	Contexts       []Context `json:"contexts"`
}

// ErrNotInitialized says that there is no configuration yet.
var ErrNotInitialized = errors.New("speedctl is not initialized")

// Locate returns the folder by flag, then SPEEDSCALE_HOME, then the home directory.
func Locate(flag string, getenv func(string) string) (Dir, error) {
	if flag != "" {
		return Dir(flag), nil
	}
	if d := getenv("SPEEDSCALE_HOME"); d != "" {
		return Dir(d), nil
	}
	if h := getenv("HOME"); h != "" {
		return Dir(filepath.Join(h, ".speedscale")), nil
	}
	return "", errors.New("no home directory: set SPEEDSCALE_HOME or --home")
}

// LocalCloud is where the local cloud keeps its data.
func (d Dir) LocalCloud() string { return filepath.Join(string(d), "cloud") }

// Spools is where captures keep what the cloud does not have yet, masked.
func (d Dir) Spools() string { return filepath.Join(string(d), "spool") }

// Trust is where capture and mock write the CA and trust files for apps.
func (d Dir) Trust() string { return filepath.Join(string(d), "certs") }

// Snapshot is where the pulled snapshot id is kept.
func (d Dir) Snapshot(id string) string { return filepath.Join(string(d), "data", "snapshots", id) }

// Load reads the configuration. It returns ErrNotInitialized when there is none.
func (d Dir) Load() (*Config, error) {
	b, err := os.ReadFile(d.configFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotInitialized
	}
	if err != nil {
		return nil, err
	}
	var c Config
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", d.configFile(), err)
	}
	return &c, nil
}

// Save writes the configuration, readable by its owner alone, all or nothing.
func (d Dir) Save(c *Config) error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return err
	}
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	tmp := d.configFile() + ".tmp"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, d.configFile())
}

// Context returns a context by name; an empty name is the current one.
func (c *Config) Context(name string) (*Context, error) {
	if name == "" {
		name = c.CurrentContext
	}
	if name == "" {
		return nil, errors.New("no context is the current one: speedctl config use-context names one")
	}
	i := slices.IndexFunc(c.Contexts, func(x Context) bool { return x.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("no context %q in the configuration", name)
	}
	return &c.Contexts[i], nil
}

// Add adds a context or replaces the one of that name, and makes it the current one
// where there was none. It says whether it is.
func (c *Config) Add(x Context) (current bool) {
	was := c.CurrentContext
	c.Put(x)
	if was != "" {
		c.CurrentContext = was
	}
	return c.CurrentContext == x.Name
}

// Put adds a context or replaces the one of that name, and makes it the current one.
func (c *Config) Put(x Context) {
	c.CurrentContext = x.Name
	if i := slices.IndexFunc(c.Contexts, func(y Context) bool { return y.Name == x.Name }); i >= 0 {
		c.Contexts[i] = x
		return
	}
	c.Contexts = append(c.Contexts, x)
}

// Delete takes a context away. Where it was the current one, none is.
func (c *Config) Delete(name string) error {
	i := slices.IndexFunc(c.Contexts, func(x Context) bool { return x.Name == name })
	if i < 0 {
		return fmt.Errorf("no context %q in the configuration", name)
	}
	c.Contexts = slices.Delete(c.Contexts, i, i+1)
	if c.CurrentContext == name {
		c.CurrentContext = ""
	}
	return nil
}

func (d Dir) configFile() string { return filepath.Join(string(d), "config.json") }

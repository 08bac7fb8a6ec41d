package goproxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/intercept"
)

// command does what a pod needs around the proxy: the image has no shell and no
// other program.
//
//	ca             makes the CA in TLS_CERT_DIR (tls.crt and tls.key), and in
//	               TLS_TRUST_DIR what apps need to trust it; one that is there stays. In
//	               KUBE_TRUST_DIR, where it is set, what clients of the Kubernetes API need:
//	               TLS_OUT_KUBE_CA has that API's roots, KUBE_FILES_DIR is where apps find
//	               the service account's own files
//	wait DURATION  returns when the proxy of this container is ready, or after DURATION
func command(ctx context.Context, env *agent.Env) error {
	switch args := env.Args; {
	case len(args) == 1 && args[0] == config.ProxyCommandCA:
		dir, trust := env.Vars.String("TLS_CERT_DIR", "/etc/ssl/speedscale"), env.Vars.String("TLS_TRUST_DIR", "")
		if trust == "" {
			env.Vars.Missing("TLS_TRUST_DIR", "apps read there which CA to trust")
		}
		kube := kubeTrust{env.Vars.String("KUBE_TRUST_DIR", ""), env.Vars.String("TLS_OUT_KUBE_CA", ""), env.Vars.String("KUBE_FILES_DIR", "")}
		if err := env.Vars.Err(); err != nil {
			return err
		}
		return makeCA(dir, trust, kube)
	case len(args) == 2 && args[0] == config.ProxyCommandWait:
		limit, err := time.ParseDuration(args[1])
		if err != nil || limit <= 0 {
			return fmt.Errorf("argument %q: want a duration such as 30s", args[1])
		}
		port := env.Vars.Port("HEALTH_HTTP_PORT", config.ProxyHealthPort)
		if err := env.Vars.Err(); err != nil {
			return err
		}
		return waitReady(ctx, port, limit)
	default:
		return fmt.Errorf("arguments %q: want none, %s or %s DURATION", strings.Join(args, " "), config.ProxyCommandCA, config.ProxyCommandWait)
	}
}

// makeCA keeps a CA that it can load: an init container that runs again must not take
// away the one that apps trust already.
func makeCA(dir, trust string, kube kubeTrust) error {
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	ca, err := intercept.LoadCA(cert, key)
	if errors.Is(err, fs.ErrNotExist) {
		if ca, err = intercept.NewCA(); err == nil {
			err = ca.Save(cert, key)
		}
	}
	if err != nil {
		return fmt.Errorf("CA in %q: %w", dir, err)
	}
	if err := intercept.WriteTrust(trust, ca); err != nil {
		return fmt.Errorf("trust in %q: %w", trust, err)
	}
	if kube.dir == "" {
		return nil
	}
	if err := intercept.WriteKubeTrust(kube.dir, kube.ca, kube.files, ca); err != nil {
		return fmt.Errorf("trust of the Kubernetes API in %q: %w", kube.dir, err)
	}
	return nil
}

// kubeTrust are the arguments of intercept.WriteKubeTrust; dir "" writes nothing.
type kubeTrust struct{ dir, ca, files string }

// readyInterval is the time between two questions whether the proxy is ready.
const readyInterval = 20 * time.Millisecond

// waitReady returns when the proxy says that it is ready. That it did not in time is
// no error: whoever waits goes on then, too.
func waitReady(ctx context.Context, port int, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	url := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) + "/readyz"
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: it is this pod
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if res, err := client.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/api/v1/cloudv1connect"
)

// service is a program of ours that can be killed and started again with the same
// settings, folders and ports.
type service struct {
	t    *testing.T
	name string
	env  []string
	args []string
	addr string // accepts connections once it is up

	mu   sync.Mutex
	runs []*background
}

func (s *service) start() {
	s.t.Helper()
	b := launch(s.t, append(os.Environ(), s.env...), bin(s.name), s.args...)
	s.mu.Lock()
	s.runs = append(s.runs, b)
	s.mu.Unlock()
	b.waitFor(s.addr)
}

func (s *service) current() *background {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[len(s.runs)-1]
}

// restart kills the program with SIGKILL, and starts it after a while.
func (s *service) restart(away time.Duration) {
	s.t.Helper()
	s.current().kill()
	time.Sleep(away)
	s.start()
}

// stop ends the program in order.
func (s *service) stop() {
	s.t.Helper()
	b := s.current()
	b.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-b.done:
		if b.err != nil {
			s.t.Errorf("%s ended with %v\n%s", s.name, b.err, tail(b.out.String()))
		}
	case <-time.After(time.Minute):
		s.t.Fatalf("%s does not end\n%s", s.name, tail(b.out.String()))
	}
}

// printed is all that the program has printed, over all its runs.
func (s *service) printed() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all strings.Builder
	for _, b := range s.runs {
		all.WriteString(b.out.String())
	}
	return all.String()
}

// tail is the end of a long output.
func tail(s string) string {
	const most = 4000
	return s[max(0, len(s)-most):]
}

// deployment is cloud, forwarder and proxy as processes of their own, as they are
// in a cluster.
type deployment struct {
	t                       *testing.T
	dir                     string
	user                    user
	key                     string
	cloudURL                string
	cloud, forwarder, proxy *service
	// token is what proxies prove themselves by; in is where clients of the app go.
	token, in                       string
	forwarderAddr                   string
	proxyMetrics, forwarderMetrics  string
	forwarderHealth, proxyHealthURL string
}

// deployCloud starts a cloud, and makes a user of it.
func deployCloud(t *testing.T, dir string, args ...string) *deployment {
	t.Helper()
	d := &deployment{t: t, dir: dir, user: newUser(t)}
	addr, _ := freeAddr(t)
	d.cloudURL = "http://" + addr
	d.cloud = &service{t: t, name: "cloud", addr: addr, args: append([]string{"-data", filepath.Join(dir, "cloud"), "-listen", addr}, args...)}
	d.cloud.start()
	key := regexp.MustCompile(`shown this once: (\S+)\n`)
	d.eventually("the cloud printed no key", func() bool { return key.MatchString(d.cloud.printed()) })
	d.key = key.FindStringSubmatch(d.cloud.printed())[1]
	d.user.must("init", "--app-url", d.cloudURL, "--bus-url", "ws://"+addr, "--api-key", d.key)
	return d
}

// deployForwarder starts a forwarder before the cloud.
func (d *deployment) deployForwarder() {
	d.t.Helper()
	d.token = "a-token-of-the-e2e-tests"
	token := filepath.Join(d.dir, "token")
	if err := os.WriteFile(token, []byte(d.token), 0o600); err != nil {
		d.t.Fatal(err)
	}
	var port, health, metrics string
	d.forwarderAddr, port = freeAddr(d.t)
	d.forwarderHealth, health = freeAddr(d.t)
	d.forwarderMetrics, metrics = freeAddr(d.t)
	d.forwarder = &service{t: d.t, name: "forwarder", addr: d.forwarderAddr, env: []string{
		"CLUSTER_NAME=e2e", "SPEEDSCALE_API_KEY=" + d.key, "SPEEDSCALE_APP_URL=" + d.cloudURL,
		"FORWARDER_LISTEN=127.0.0.1:" + port, "FORWARDER_TOKEN_FILE=" + token, "FORWARDER_SPOOL=" + filepath.Join(d.dir, "spool"),
		"HEALTH_HTTP_PORT=" + health, "METRICS_HTTP_PORT=" + metrics,
	}}
	d.forwarder.start()
	d.eventually("the forwarder has no rules", func() bool { return statusOf("http://"+d.forwarderHealth+"/readyz") == http.StatusOK })
}

// deployProxy starts a supervised proxy before an app, which sends what it captures
// to forwarder. Further settings win over ours.
func (d *deployment) deployProxy(app, forwarder string, env ...string) {
	d.t.Helper()
	host, port, err := net.SplitHostPort(app)
	if err != nil {
		d.t.Fatal(err)
	}
	var in, health, metrics string
	d.in, in = freeAddr(d.t)
	_, health = freeAddr(d.t)
	d.proxyMetrics, metrics = freeAddr(d.t)
	d.proxyHealthURL = "http://127.0.0.1:" + health + "/readyz"
	d.proxy = &service{t: d.t, name: "goproxy", addr: d.in, env: append([]string{
		"PROXY_TYPE=reverse", "APP_LABEL=app", "PROXY_BIND=127.0.0.1", "PROXY_IN_PORT=" + in,
		"REVERSE_PROXY_HOST=" + host, "REVERSE_PROXY_PORT=" + port, "DRAIN_TIMEOUT=5s",
		"HEALTH_HTTP_PORT=" + health, "METRICS_HTTP_PORT=" + metrics,
		"FORWARDER_ADDR=" + forwarder, "FORWARDER_TOKEN_FILE=" + filepath.Join(d.dir, "token"),
	}, env...)}
	d.proxy.start()
	d.eventually("the proxy is not ready", func() bool { return statusOf(d.proxyHealthURL) == http.StatusOK })
}

func (d *deployment) eventually(what string, done func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			for _, s := range []*service{d.cloud, d.forwarder, d.proxy} {
				if s != nil {
					d.t.Logf("%s:\n%s", s.name, tail(s.current().out.String()))
				}
			}
			d.t.Fatal(what)
		}
	}
}

// drainProxy waits until the forwarder has acknowledged most of what the proxy
// captured; the rest goes with its goodbye.
func (d *deployment) drainProxy() {
	d.t.Helper()
	d.eventually("the proxy is not rid of its pairs", func() bool {
		n, ok := metric(d.proxyMetrics, "speedscale_goproxy_capture_memory_bytes")
		return ok && n < 3<<20 // of which it keeps 2 MiB for the next batches
	})
}

// drainForwarder waits until the cloud has acknowledged all that was spooled.
func (d *deployment) drainForwarder() {
	d.t.Helper()
	d.eventually("the spool does not drain", func() bool {
		n, ok := metric(d.forwarderMetrics, "messages_queued")
		return ok && n == 0
	})
}

// flush asks the cloud to archive all that it has acknowledged.
func (d *deployment) flush() *cloudv1.IngestResponse {
	d.t.Helper()
	return d.ingest(true)
}

// ingest asks the cloud how far the archive has come.
func (d *deployment) ingest(flush bool) *cloudv1.IngestResponse {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	authorize := connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
			r.Header().Set("Authorization", "Bearer "+d.key)
			return next(ctx, r)
		}
	})
	c := cloudv1connect.NewTrafficServiceClient(http.DefaultClient, d.cloudURL, connect.WithInterceptors(authorize))
	res, err := c.Ingest(ctx, &cloudv1.IngestRequest{Flush: flush})
	if err != nil {
		d.t.Fatal(err)
	}
	return res
}

// relay is the process id of the process that relays, 0 while there is none.
func (d *deployment) relay() int {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", d.proxy.current().cmd.Process.Pid)) // by thread
	if err != nil || len(lists) == 0 {
		return 0
	}
	for _, l := range lists {
		b, _ := os.ReadFile(l)
		for f := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil {
				return pid
			}
		}
	}
	return 0
}

// statusOf is the code of an answer to GET, 0 when there is none.
func statusOf(url string) int {
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get(url)
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

// metric sums the series of a metric whose labels hold all the given texts.
func metric(addr, name string, labels ...string) (sum float64, ok bool) {
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get("http://" + addr + "/metrics")
	if err != nil {
		return 0, false
	}
	defer res.Body.Close()
	for s := bufio.NewScanner(res.Body); s.Scan(); {
		series, value, found := strings.Cut(s.Text(), "} ")
		if !found {
			series, value, _ = strings.Cut(s.Text(), " ")
		}
		rest, is := strings.CutPrefix(series, name)
		if !is || rest != "" && rest[0] != '{' || slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			sum, ok = sum+v, true
		}
	}
	return sum, ok
}

package e2e

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/time/rate"
	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// setting is a number of the environment.
func setting(t *testing.T, name string, def int) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a number above 0", name, v)
	}
	return n
}

// startNginx answers each request with its own path.
func startNginx(t *testing.T) (addr string) {
	t.Helper()
	need(t, "nginx")
	addr, _ = freeAddr(t)
	runNginx(t, t.TempDir(), `server { listen `+addr+`; keepalive_requests 1000000; default_type text/plain; location / { return 200 "$request_uri"; } }`, addr)
	return addr
}

// runNginx runs nginx, as one process, with the servers of a configuration; it is
// up when one of their addresses is.
func runNginx(t *testing.T, dir, servers, addr string) {
	t.Helper()
	conf := filepath.Join(dir, "nginx.conf")
	err := os.WriteFile(conf, fmt.Appendf(nil, `
daemon off; master_process off; pid %[1]s/pid; error_log stderr; events { worker_connections 1024; }
http {
	access_log off; client_max_body_size 0; large_client_header_buffers 4 64k;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	%[2]s
}`, dir, servers), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	launch(t, os.Environ(), "nginx", "-c", conf, "-p", dir, "-e", "stderr").waitFor(addr)
}

// outage is a time in which requests may go unanswered: a relay is killed, it is
// gone, and the next one serves.
type outage struct {
	from, gone, to time.Time
	relay          bool // its supervisor lives
}

// crowd sends requests with ids of their own, until each is answered.
type crowd struct {
	t     *testing.T
	addr  string
	total int
	rate  *rate.Limiter
	next  atomic.Int64

	mu       sync.Mutex
	answered map[string]time.Time // by path
	outages  []outage
	retried  int
}

// wentDown notes that the relay is killed now, alone or with its supervisor.
func (c *crowd) wentDown(alone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outages = append(c.outages, outage{from: time.Now(), relay: alone})
}

// gone notes that the relay is gone, and the next one not yet there: it serves a
// little before anybody can say so.
func (c *crowd) gone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outages[len(c.outages)-1].gone = time.Now()
}

// upAgain notes that the next one serves.
func (c *crowd) upAgain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outages[len(c.outages)-1].to = time.Now()
}

// excused says whether the proxy was killed in the life of a connection, or was
// away when it was tried.
func (c *crowd) excused(connected time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retried++
	for _, o := range c.outages {
		if o.to.IsZero() || o.to.After(connected) {
			return true
		}
	}
	return false
}

// client sends requests over one connection after the other until there are none left.
func (c *crowd) client(ctx context.Context) error {
	var conn net.Conn
	var in *bufio.Reader
	var connected time.Time
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for id := c.next.Add(1); id <= int64(c.total); id = c.next.Add(1) {
		path := "/r/" + strconv.FormatInt(id, 36)
		if err := c.rate.Wait(ctx); err != nil {
			return err
		}
		for {
			if conn == nil {
				connected = time.Now()
			}
			err := func() (err error) {
				if conn == nil {
					if conn, err = net.DialTimeout("tcp", c.addr, 5*time.Second); err != nil {
						conn = nil
						return err
					}
					in = bufio.NewReader(conn)
				}
				return exchange(conn, in, path)
			}()
			if err == nil {
				break
			}
			if conn != nil {
				conn.Close()
				conn = nil
			}
			if !c.excused(connected) {
				return fmt.Errorf("%s is not answered, and the proxy lives: %w", path, err)
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s is not answered: %w", path, err)
			case <-time.After(10 * time.Millisecond):
			}
		}
		c.mu.Lock()
		c.answered[path] = time.Now()
		c.mu.Unlock()
	}
	return nil
}

// exchange wants its own path as the answer.
func exchange(conn net.Conn, in *bufio.Reader, path string) error {
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: app\r\n\r\n", path); err != nil {
		return err
	}
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || string(body) != path) {
		err = fmt.Errorf("got %d %q", res.StatusCode, body)
	}
	return err
}

// TestKillNine kills cloud, forwarder and proxy with SIGKILL during 100,000
// requests, at random, with the cloud away for a while, and between the upload of a
// segment and its commit. While the proxy lives every request is answered, and
// every pair that the forwarder acknowledged, as a witness on the wire saw, is in
// the archive exactly once, as DuckDB counts.
//
// SPEEDSCALE_E2E_REQUESTS is how many requests are sent, SPEEDSCALE_E2E_RATE how
// many a second at most, and SPEEDSCALE_E2E_AWAY for how many seconds the cloud is away.
func TestKillNine(t *testing.T) {
	needNPM(t)
	requests := setting(t, "SPEEDSCALE_E2E_REQUESTS", 100_000)
	away := time.Duration(setting(t, "SPEEDSCALE_E2E_AWAY", 15)) * time.Second
	pace := setting(t, "SPEEDSCALE_E2E_RATE", 1250)
	dir := t.TempDir()
	d := deployCloud(t, dir, "-log-level", "debug")
	d.deployForwarder()
	w := newWitness(t, d.forwarderAddr)
	d.deployProxy(startNginx(t), w.addr())

	c := &crowd{t: t, addr: d.in, total: requests, rate: rate.NewLimiter(rate.Limit(pace), 100), answered: map[string]time.Time{}}
	const clients = 8
	var sending sync.WaitGroup
	sending.Add(clients)
	for range clients {
		go func() {
			defer sending.Done()
			if err := c.client(t.Context()); err != nil {
				t.Error(err)
			}
		}()
	}
	done := make(chan struct{})
	go func() { sending.Wait(); close(done) }()
	began := time.Now()
	k := &killer{t: t, d: d, crowd: c, done: done}
	k.run(away)
	select {
	case <-done:
	case <-time.After(2*time.Minute + time.Duration(requests/pace)*time.Second):
		t.Fatalf("%d of %d requests are answered", len(c.answered), requests)
	}
	t.Logf("%d requests in %v, %d tried again; killed %+v", len(c.answered), time.Since(began).Round(time.Second), c.retried, k.killed)

	d.drainProxy()
	d.proxy.stop()
	d.drainForwarder()
	d.forwarder.stop()
	if r := d.flush(); r.Waiting != 0 || r.Refused != "" {
		t.Errorf("after all %v", r)
	}
	d.cloud.stop()
	k.judge(w)
}

// killer kills, and judges what is left.
type killer struct {
	t      *testing.T
	d      *deployment
	crowd  *crowd
	done   <-chan struct{} // no request is left
	killed struct{ cloud, forwarder, relay, proxy, committing int }
}

func (k *killer) over() bool {
	select {
	case <-k.done:
		return true
	default:
		return false
	}
}

// run kills until all requests are answered.
func (k *killer) run(away time.Duration) {
	pause := func(most time.Duration) { time.Sleep(most/4 + rand.N(most)) }
	pause(time.Second)
	for range 3 {
		k.killCommitting()
	}
	k.killRelay()
	pause(time.Second)
	// The cloud is away, and the forwarder dies meanwhile.
	k.killed.cloud++
	k.d.cloud.current().kill()
	time.Sleep(away / 2)
	k.killed.forwarder++
	k.d.forwarder.restart(rand.N(time.Second))
	time.Sleep(away / 2)
	k.d.cloud.start()
	k.killProxy()
	for relays := 0; !k.over(); {
		switch rand.N(5) {
		case 0, 1:
			k.killed.cloud++
			k.d.cloud.restart(rand.N(time.Second))
		case 2, 3:
			k.killed.forwarder++
			k.d.forwarder.restart(rand.N(time.Second))
		case 4:
			// After the third death within a minute it relays without capture.
			if relays++; relays <= 2 {
				k.killRelay()
			}
		}
		pause(4 * time.Second)
	}
}

// killRelay kills the process that relays, which its supervisor starts again.
func (k *killer) killRelay() {
	k.t.Helper()
	pid := k.d.relay()
	if pid == 0 {
		k.t.Fatal("there is no relay")
	}
	k.killed.relay++
	k.crowd.wentDown(true)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		k.t.Fatal(err)
	}
	k.crowd.gone()
	k.d.eventually("the relay is not back", func() bool { return statusOf(k.d.proxyHealthURL) == http.StatusOK })
	k.crowd.upAgain()
}

// killProxy kills the supervisor: its relay drains in order, and another proxy
// takes the ports.
func (k *killer) killProxy() {
	k.t.Helper()
	k.killed.proxy++
	relay := k.d.relay()
	k.crowd.wentDown(false)
	k.d.proxy.current().kill()
	k.d.eventually("the relay outlives its supervisor", func() bool { return syscall.Kill(relay, 0) != nil })
	k.crowd.gone()
	k.d.proxy.start()
	k.d.eventually("the proxy is not ready", func() bool { return statusOf(k.d.proxyHealthURL) == http.StatusOK })
	k.crowd.upAgain()
}

const uncommitted = "an object that was never committed is deleted"

// killCommitting kills the cloud between the upload of a segment and its commit: a
// lock on the catalog holds the commit up.
func (k *killer) killCommitting() {
	k.t.Helper()
	archive := filepath.Join(k.d.dir, "cloud", "archive")
	db, err := sql.Open("sqlite", "file:"+filepath.Join(k.d.dir, "cloud", "catalog.db")+"?_pragma=busy_timeout(5000)&_txlock=immediate")
	if err != nil {
		k.t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(k.t.Context(), nil)
	if err != nil {
		k.t.Fatal(err)
	}
	defer tx.Rollback()
	known := map[string]bool{}
	rows, err := tx.Query("SELECT object FROM segments UNION SELECT object FROM tombstones")
	if err != nil {
		k.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var object string
		if err := rows.Scan(&object); err != nil {
			k.t.Fatal(err)
		}
		known[object] = true
	}
	if err := rows.Err(); err != nil {
		k.t.Fatal(err)
	}
	before := strings.Count(k.d.cloud.printed(), uncommitted)
	uploaded := func() bool {
		for _, object := range objects(k.t, archive) {
			if !known[object] {
				return true
			}
		}
		return false
	}
	for deadline := time.Now().Add(8 * time.Second); !uploaded(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) || k.over() {
			k.t.Error("no segment was uploaded while the catalog was locked")
			return
		}
	}
	k.killed.committing++
	k.d.cloud.current().kill()
	rows.Close()
	tx.Rollback()
	db.Close()
	k.d.cloud.start()
	if strings.Count(k.d.cloud.printed(), uncommitted) == before {
		k.t.Errorf("the cloud does not say that it deleted the object that was not committed:\n%s", tail(k.d.cloud.current().out.String()))
	}
}

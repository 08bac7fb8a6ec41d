package inspector_test

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/nats-io/nats.go"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/inspector"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/auth"
	"github.com/speedscale/speedscale/cloud/client"
	"github.com/speedscale/speedscale/cloud/server"
	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/test/privateca"
)

// cloud is a running one, with a client that has every scope.
type cloud struct {
	*server.Server
	*client.Client
}

func startCloud(t *testing.T) *cloud {
	t.Helper()
	return openCloud(t, server.Options{}, nil)
}

// openCloud is startCloud with a certificate in o, which roots verify.
func openCloud(t *testing.T, o server.Options, roots *x509.CertPool) *cloud {
	t.Helper()
	o.DataDir = t.TempDir()
	s, err := server.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	c, err := client.New(client.Options{URL: s.URL(), Key: s.InitialKey(), Roots: roots})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &cloud{s, c}
}

func (c *cloud) key(t *testing.T, scopes ...string) string {
	t.Helper()
	_, key, err := c.Keyring().Create(t.Context(), "test", scopes, 0)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// inspect has an inspector work until the test ends or stop is called, over a
// connection with a key. keyID is what it says of itself.
func (c *cloud) inspect(t *testing.T, o inspector.Options, key, keyID string) (conn *nats.Conn, stop func()) {
	t.Helper()
	return inspectBy(t, o, bus.ConnectOptions{
		URLs: []string{strings.Replace(c.URL(), "http", "ws", 1)}, Token: key, Name: "inspector", MaxReconnectWait: 200 * time.Millisecond,
	}, keyID)
}

// inspectBy is inspect over another connection.
func inspectBy(t *testing.T, o inspector.Options, way bus.ConnectOptions, keyID string) (conn *nats.Conn, stop func()) {
	t.Helper()
	conn, err := bus.Connect(t.Context(), way)
	if err != nil {
		t.Fatal(err)
	}
	o.KeyID, o.Logger = keyID, slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- inspector.New(o).Run(ctx, conn) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			t.Error(err)
		}
		conn.Close()
	}
	t.Cleanup(stop)
	return conn, stop
}

func keyID(t *testing.T, key string) string {
	t.Helper()
	id, err := bus.KeyID(key)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// names of the clusters that are connected.
func (c *cloud) names(t *testing.T) string {
	t.Helper()
	res, err := c.Control.Clusters(t.Context(), &cloudv1.ClustersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, cluster := range res.GetClusters() {
		names = append(names, cluster.GetName())
	}
	return strings.Join(names, " ")
}

// await waits until those clusters are connected.
func (c *cloud) await(t *testing.T, want string) {
	t.Helper()
	got := ""
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if got = c.names(t); got == want {
			return
		}
	}
	t.Fatalf("clusters are %q, want %q", got, want)
}

func (c *cloud) run(t *testing.T, cluster string, command *cloudv1.Command) (*cloudv1.CommandResult, error) {
	t.Helper()
	res, err := c.Control.Run(t.Context(), &cloudv1.RunRequest{Cluster: cluster, Command: command})
	return res.GetResult(), err
}

func TestACommandGoesFromTheCloudToItsClusterAndIsAudited(t *testing.T) {
	c := startCloud(t)
	key := c.key(t, auth.ScopeControl, auth.ScopeIngest)
	shop := newCluster(t, nil, deployment("shop", "web", nil))
	_, stop := c.inspect(t, shop.options, key, keyID(t, key))
	c.await(t, "eu.prod")
	res, err := c.Control.Clusters(t.Context(), &cloudv1.ClustersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if found := res.GetClusters()[0]; found.GetVersion() != "1.2.3" || found.GetSince() == 0 {
		t.Errorf("%v", found)
	}
	result, err := c.run(t, "eu.prod", injection("Deployment", "web", map[string]string{annotation.Inject: "true"}))
	if err != nil {
		t.Fatal(err)
	}
	if got := output[inspector.Changed](t, result); got.Annotations[annotation.Inject] != "true" {
		t.Errorf("%v", got)
	}
	result, err = c.run(t, "eu.prod", injection("Deployment", "none", map[string]string{annotation.Inject: "true"}))
	if err != nil || !strings.Contains(result.GetError(), "deployment shop/none") {
		t.Errorf("%v, %v", result, err)
	}
	if _, err := c.run(t, "us", workloads("")); connect.CodeOf(err) != connect.CodeNotFound || !strings.Contains(err.Error(), "eu.prod") {
		t.Errorf("a cluster that is not there: %v", err)
	}
	if _, err := c.run(t, "eu.prod", &cloudv1.Command{}); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("no command: %v", err)
	}
	stop()
	c.await(t, "")
	if _, err := c.run(t, "eu.prod", workloads("")); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("an inspector that has gone: %v", err)
	}
	audit, err := c.Control.Audit(t.Context(), &cloudv1.AuditRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var outcomes []string
	for _, e := range audit.GetEntries() {
		if e.GetKey() != keyID(t, c.InitialKey()) || e.GetTime() == 0 {
			t.Errorf("%v", e)
		}
		outcomes = append(outcomes, e.GetCluster()+": "+e.GetOutcome())
	}
	if len(outcomes) != 4 || outcomes[3] != "eu.prod: done" || !strings.Contains(outcomes[2], "deployment shop/none") || !strings.Contains(outcomes[1], "us: cluster") {
		t.Errorf("%q", outcomes)
	}
	if text := string(audit.GetEntries()[3].GetCommand()); !strings.Contains(text, `"injection"`) || !strings.Contains(text, annotation.Inject) {
		t.Errorf("command %s", text)
	}
}

func TestAnInspectorComesBackWhenTheConnectionWasAway(t *testing.T) {
	c := startCloud(t)
	key := c.key(t, auth.ScopeControl)
	conn, _ := c.inspect(t, newCluster(t, nil).options, key, keyID(t, key))
	c.await(t, "eu.prod")
	before := conn.Stats().Reconnects
	if err := conn.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); conn.Stats().Reconnects == before && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	c.await(t, "eu.prod")
	if _, err := c.run(t, "eu.prod", workloads("")); err != nil {
		t.Error(err)
	}
}

func TestAKeyServesForItsOwnClustersOnly(t *testing.T) {
	c := startCloud(t)
	ingest, mine, theirs := c.key(t, auth.ScopeIngest), c.key(t, auth.ScopeControl), c.key(t, auth.ScopeControl)
	o := newCluster(t, nil, deployment("shop", "web", nil)).options
	o.Cluster = "ingest"
	c.inspect(t, o, ingest, keyID(t, ingest))
	o.Cluster = "stolen"
	c.inspect(t, o, theirs, keyID(t, mine)) // it says that it has another's key
	o.Cluster = "mine"
	c.inspect(t, o, mine, keyID(t, mine))
	deadline := time.Now().Add(30 * time.Second)
	for !strings.Contains(c.names(t), "mine") && time.Now().Before(deadline) {
	}
	if _, err := c.run(t, "mine", workloads("")); err != nil {
		t.Error(err)
	}
	// What an inspector says of itself may be believed, but nothing is sent to it.
	for _, cluster := range []string{"ingest", "stolen"} {
		if result, err := c.run(t, cluster, workloads("")); err == nil {
			t.Errorf("cluster %q answers %v", cluster, result)
		}
	}
}

func TestTwoClustersOfOneNameAreNotCommanded(t *testing.T) {
	c := startCloud(t)
	one, two := c.key(t, auth.ScopeControl), c.key(t, auth.ScopeControl)
	o := newCluster(t, nil).options
	c.inspect(t, o, one, keyID(t, one))
	c.inspect(t, o, two, keyID(t, two))
	c.await(t, "eu.prod eu.prod")
	_, err := c.run(t, "eu.prod", workloads(""))
	if connect.CodeOf(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), keyID(t, one)) || !strings.Contains(err.Error(), keyID(t, two)) {
		t.Error(err)
	}
}

func TestCommandsNeedTheAdminScope(t *testing.T) {
	c := startCloud(t)
	cl, err := client.New(client.Options{URL: c.URL(), Key: c.key(t, auth.ScopeControl, auth.ScopeIngest, auth.ScopeRead)})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	_, clusters := cl.Control.Clusters(t.Context(), &cloudv1.ClustersRequest{})
	_, run := cl.Control.Run(t.Context(), &cloudv1.RunRequest{Cluster: "eu.prod", Command: workloads("")})
	_, audit := cl.Control.Audit(t.Context(), &cloudv1.AuditRequest{})
	for _, err := range []error{clusters, run, audit} {
		if connect.CodeOf(err) != connect.CodePermissionDenied {
			t.Error(err)
		}
	}
}

// TestCloudWithAPrivateCA: the inspector verifies the cloud by the CA that it is given,
// and without it says what is missing.
func TestCloudWithAPrivateCA(t *testing.T) {
	ca := privateca.New(t, "127.0.0.1")
	c := openCloud(t, server.Options{TLS: ca.Server(t)}, ca.Roots(t))
	key := c.key(t, auth.ScopeControl)
	o := newCluster(t, nil).options
	vars := map[string]string{"CLUSTER_NAME": o.Cluster, "SPEEDSCALE_API_KEY": key, "SPEEDSCALE_APP_URL": c.URL()}
	for _, file := range []string{"", ca.CA} {
		vars["SPEEDSCALE_APP_CA"] = file
		s, err := inspector.ReadSettings(agent.NewVars(func(name string) string { return vars[name] }))
		if err != nil {
			t.Fatal(err)
		}
		said := make(chan string, 100)
		s.Cloud.Logger = slog.New(slog.NewTextHandler(lines(said), nil))
		_, stop := inspectBy(t, o, s.Cloud, s.KeyID)
		if file != "" {
			c.await(t, o.Cluster)
			return
		}
		select {
		case line := <-said:
			if !strings.Contains(line, "SPEEDSCALE_APP_CA names a PEM file") {
				t.Errorf("without the CA it says %s", line)
			}
		case <-time.After(30 * time.Second):
			t.Error("without the CA nothing is said")
		}
		if got := c.names(t); got != "" {
			t.Errorf("without the CA %s is connected", got)
		}
		stop()
	}
}

// lines takes what a log writes, and drops what nobody waits for.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	select {
	case l <- string(b):
	default:
	}
	return len(b), nil
}

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/speedscale/speedscale/demo/shop"
)

// privateHosts is nginx with three hosts of a private CA: one like any other, one
// whose clients pin its key, and one that asks for a client certificate.
type privateHosts struct {
	ca, clientCert, clientKey, pin string
	aliases                        []string // flags of capture
}

func startPrivateHosts(t *testing.T) *privateHosts {
	t.Helper()
	need(t, "nginx", "openssl", "curl")
	dir := t.TempDir()
	h := &privateHosts{ca: filepath.Join(dir, "ca.crt"), clientCert: filepath.Join(dir, "client.crt"), clientKey: filepath.Join(dir, "client.key")}
	openssl(t, dir, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=private CA")
	for name, san := range map[string]string{"server": "subjectAltName=DNS:private.test,DNS:pinned.test,DNS:mtls.test", "client": "subjectAltName=DNS:client.test"} {
		openssl(t, dir, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name+".key", "-out", name+".csr", "-subj", "/CN="+name)
		ext := filepath.Join(dir, name+".ext")
		if err := os.WriteFile(ext, []byte(san+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		openssl(t, dir, "x509", "-req", "-in", name+".csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", ext, "-out", name+".crt")
	}
	pin := exec.Command("sh", "-c", "openssl x509 -in server.crt -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64")
	pin.Dir = dir
	out, err := pin.Output()
	if err != nil {
		t.Fatal(err)
	}
	h.pin = "sha256//" + strings.TrimSpace(string(out))
	servers := ""
	var first string
	for host, extra := range map[string]string{"private.test": "", "pinned.test": "", "mtls.test": "ssl_client_certificate ca.crt; ssl_verify_client on;"} {
		addr, _ := freeAddr(t)
		first = addr
		h.aliases = append(h.aliases, "--host-alias", host+":443="+addr)
		servers += fmt.Sprintf("server { listen %s ssl; ssl_certificate server.crt; ssl_certificate_key server.key; %s default_type text/plain; location / { return 200 \"%s says hello to $ssl_client_s_dn\\n\"; } }\n", addr, extra, host)
	}
	runNginx(t, dir, servers, first)
	return h
}

func openssl(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
}

// run captures a script of curl commands, and returns what capture said.
func (h *privateHosts) run(t *testing.T, script string, args ...string) result {
	t.Helper()
	u := newUser(t)
	file := filepath.Join(t.TempDir(), "client.sh")
	if err := os.WriteFile(file, []byte("set -e\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	args = append(append([]string{"-v", "capture", "client", "--out-port", "0"}, h.aliases...), args...)
	r := u.run(append(args, "--", "sh", file)...)
	if r.code != 0 {
		t.Fatalf("the client ended with %d:\n%s%s", r.code, r.stdout, r.stderr)
	}
	return r
}

// wantOpaque wants requests to be answered, connections to be counted as relayed
// opaque, and the host to be named with the reason.
func wantOpaque(t *testing.T, r result, host, why string, outbound, connections int) {
	t.Helper()
	for _, want := range []string{
		fmt.Sprintf("%d outbound", outbound), fmt.Sprintf("opaque tls (0 requests, %d connections", connections),
		"host=" + host, why,
	} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("capture does not say %q:\n%s", want, r.stderr)
		}
	}
	if !strings.Contains(r.stdout, host+" says hello") {
		t.Errorf("the client got %q", r.stdout)
	}
}

// refusedLeaf is what is said of a client that does not take our certificate.
const refusedLeaf = "client refused our certificate, so it is relayed without capture"

// An app that brings its own private CA reaches its private host: opaque while the
// proxy cannot verify the host, and captured once it is given the CA and the app
// trusts what capture adds to its roots.
func TestPrivateCA(t *testing.T) {
	h := startPrivateHosts(t)
	r := h.run(t, strings.Repeat("curl -sS --fail --cacert "+h.ca+" https://private.test/\n", 3))
	wantOpaque(t, r, "private.test", "reason=unverified_host", 0, 3)

	// The variables of the app add to its roots; CURL_CA_BUNDLE is not ours then.
	r = h.run(t, "curl -sS --fail https://private.test/\ncurl -sS --fail --http1.1 https://private.test/\n", "--upstream-ca", h.ca)
	if !strings.Contains(r.stderr, "2 outbound") || strings.Count(r.stdout, "private.test says hello") != 2 {
		t.Errorf("not captured:\n%s%s", r.stdout, r.stderr)
	}

	// The app trusts its own CA alone, and refuses our certificate once, with an
	// alert, which is counted too.
	one := "curl -sS --fail --cacert " + h.ca + " https://private.test/"
	r = h.run(t, one+" || true\n"+one+"\n"+one+"\n", "--upstream-ca", h.ca)
	wantOpaque(t, r, "private.test", refusedLeaf, 0, 3)
}

// A client that pins the host's key refuses our certificate once, and is relayed
// opaque from its next connection on.
func TestPinnedClient(t *testing.T) {
	h := startPrivateHosts(t)
	// It trusts both CAs: the pin alone tells the two certificates apart.
	both := filepath.Join(t.TempDir(), "both.crt")
	one := "curl -sS --fail --cacert " + both + " --pinnedpubkey '" + h.pin + "' https://pinned.test/"
	r := h.run(t, "cat \"$CURL_CA_BUNDLE\" "+h.ca+" > "+both+"\n"+one+" || true\n"+one+"\n"+one+"\n", "--upstream-ca", h.ca)
	wantOpaque(t, r, "pinned.test", refusedLeaf, 0, 2)
}

// A host that asks for a client certificate gets the app's own.
func TestClientCertificate(t *testing.T) {
	h := startPrivateHosts(t)
	r := h.run(t, strings.Repeat("curl -sS --fail --cacert "+h.ca+" --cert "+h.clientCert+" --key "+h.clientKey+" https://mtls.test/\n", 3), "--upstream-ca", h.ca)
	wantOpaque(t, r, "mtls.test", "reason=client_certificate", 0, 3)
	if !strings.Contains(r.stdout, "hello to CN=client") {
		t.Errorf("the host did not get the app's certificate: %q", r.stdout)
	}
}

// TestH2Clients drives nghttpd with h2load and nghttp over HTTP/2 without TLS, and
// replays what they sent.
func TestH2Clients(t *testing.T) {
	need(t, "nghttpd", "h2load", "nghttp")
	docs := t.TempDir()
	if err := os.WriteFile(filepath.Join(docs, "index.html"), []byte("<p>hello</p>\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addr, port := freeAddr(t)
	inAddr, inPort := freeAddr(t)
	launch(t, os.Environ(), "nghttpd", "--no-tls", "--address=127.0.0.1", "--htdocs="+docs, port).waitFor(addr)
	u := newUser(t)
	capture := u.start("capture", "files", port, "--in-port", inPort, "--out-port", "0")
	capture.waitFor(inAddr)
	for _, args := range [][]string{
		{"h2load", "-n", "300", "-c", "3", "-m", "10", "http://" + inAddr + "/index.html"},
		{"nghttp", "-v", "-m", "5", "http://" + inAddr + "/index.html"},
		{"nghttp", "-v", "http://" + inAddr + "/missing"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		if args[0] == "h2load" && !strings.Contains(string(out), "300 succeeded, 0 failed") {
			t.Errorf("h2load:\n%s", out)
		}
	}
	const sent = 306
	if out, want := capture.interrupt(), fmt.Sprintf("Captured %d inbound", sent); !strings.Contains(out, want) {
		t.Fatalf("capture did not say %q:\n%s", want, out)
	}
	u.must("create", "snapshot", "--name", "files")
	if r := u.replay("files", addr, []string{"Date", "date"}); r.Requests.Passed != sent {
		t.Errorf("%d of %d requests passed", r.Requests.Passed, sent)
	}
}

// grpcClient is a client as grpc-go makes it, run as a process of its own: it
// knows nothing of us.
func grpcClient(target string) error {
	creds := credentials.NewClientTLSFromCert(nil, "")
	if os.Getenv("GRPC_PLAIN") != "" {
		creds = insecure.NewCredentials()
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c := shop.NewInventoryClient(conn)
	for _, sku := range []string{"tea", "pot", "cup", "unobtainium"} {
		a, err := c.Find(ctx, &shop.FindRequest{Sku: sku})
		fmt.Println(sku, a.GetName(), a.GetPrice(), status.Code(err), status.Convert(err).Message())
		r, err := c.Reserve(ctx, &shop.ReserveRequest{Sku: sku, Quantity: 2, OrderId: "order-" + sku})
		fmt.Println(sku, r.GetWarehouse(), r.GetPrice(), status.Code(err), status.Convert(err).Message())
	}
	return nil
}

const grpcCalls = 8

// shelfKeeper is an inventory of our own, so that the demo's may change.
type shelfKeeper struct {
	shop.UnimplementedInventoryServer
}

func (shelfKeeper) Find(_ context.Context, r *shop.FindRequest) (*shop.Article, error) {
	if len(r.GetSku()) > 3 {
		return nil, status.Errorf(5, "no article %q", r.GetSku())
	}
	return &shop.Article{Sku: r.GetSku(), Name: "a " + r.GetSku(), Price: 100}, nil
}

func (shelfKeeper) Reserve(_ context.Context, r *shop.ReserveRequest) (*shop.Reservation, error) {
	if len(r.GetSku()) > 3 {
		return nil, status.Errorf(9, "nothing left of %q", r.GetSku())
	}
	return &shop.Reservation{Id: r.GetOrderId(), Price: 100 * int64(r.GetQuantity()), Warehouse: "north"}, nil
}

func startGRPC(t *testing.T, options ...grpc.ServerOption) (addr string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(options...)
	shop.RegisterInventoryServer(s, shelfKeeper{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return l.Addr().String(), s.Stop
}

// TestGRPCMocked captures grpc-go over TLS, and runs the same client against mocks.
func TestGRPCMocked(t *testing.T) {
	ca, err := shop.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue("inventory.test")
	if err != nil {
		t.Fatal(err)
	}
	roots := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(roots, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	addr, stop := startGRPC(t, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	t.Setenv("E2E_GRPC_CLIENT", "dns:///inventory.test:443")
	u := newUser(t)
	captured := u.run("capture", "client", "--out-port", "0", "--upstream-ca", roots, "--host-alias", "inventory.test:443="+addr, "--", os.Args[0])
	if captured.code != 0 || !strings.Contains(captured.stderr, fmt.Sprintf("%d outbound", grpcCalls)) {
		t.Fatalf("capture ended with %d\n%s%s", captured.code, captured.stdout, captured.stderr)
	}
	u.must("create", "snapshot", "--name", "grpc")
	stop()
	mocked := u.run("mock", "grpc", "--out-port", "0", "--", os.Args[0])
	if mocked.code != 0 || !strings.Contains(mocked.stderr, fmt.Sprintf("%d matched, 0 missed", grpcCalls)) {
		t.Fatalf("mock ended with %d\n%s%s", mocked.code, mocked.stdout, mocked.stderr)
	}
	if mocked.stdout != captured.stdout || !strings.Contains(mocked.stdout, "FailedPrecondition") {
		t.Errorf("the client saw\n%s\nmocked, and\n%s\nbefore", mocked.stdout, captured.stdout)
	}
}

// TestGRPCReplayed captures in front of a grpc-go server, and replays against it.
func TestGRPCReplayed(t *testing.T) {
	addr, _ := startGRPC(t)
	inAddr, inPort := freeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	u := newUser(t)
	capture := u.start("capture", "inventory", port, "--in-port", inPort, "--out-port", "0")
	capture.waitFor(inAddr)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "E2E_GRPC_CLIENT="+inAddr, "GRPC_PLAIN=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "a tea 100 OK") {
		t.Fatalf("the client: %v\n%s", err, out)
	}
	if out, want := capture.interrupt(), fmt.Sprintf("Captured %d inbound", grpcCalls); !strings.Contains(out, want) {
		t.Fatalf("capture did not say %q:\n%s", want, out)
	}
	u.must("create", "snapshot", "--name", "inventory")
	if r := u.replay("inventory", addr, nil); r.Requests.Passed != grpcCalls {
		t.Errorf("%d of %d calls passed", r.Requests.Passed, grpcCalls)
	}
}

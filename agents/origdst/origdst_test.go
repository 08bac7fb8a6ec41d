package origdst_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/agents/origdst"
)

// inNamespace is set in the environment of the copy of this test that runs in a
// network namespace of its own.
const inNamespace = "ORIGDST_TEST_NAMESPACE"

const rules = `table inet origdst {
	chain output {
		type nat hook output priority -100
		tcp dport 1000-1999 redirect to :%d
	}
}`

func TestOf(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		runInNamespace(t)
		return
	}
	for _, c := range []struct{ listen, dial, want string }{
		{"127.0.0.1:2001", "198.18.0.1:1001", "198.18.0.1:1001"},
		{"[::1]:2002", "[fd00::1]:1002", "[fd00::1]:1002"},
		{"[::]:2003", "198.18.0.1:1003", "198.18.0.1:1003"},
		{"[::]:2004", "[fd00::1]:1004", "[fd00::1]:1004"},
		{"[::]:2005", "127.0.0.1:2005", "127.0.0.1:2005"},
	} {
		redirect(t, netip.MustParseAddrPort(c.listen))
		l, err := net.Listen("tcp", c.listen)
		if err != nil {
			t.Fatal(err)
		}
		client, err := net.Dial("tcp", c.dial)
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		got, err := origdst.Of(server.(*net.TCPConn))
		if err != nil || got.String() != c.want {
			t.Errorf("%s dialled %s: got %v, %v", c.listen, c.dial, got, err)
		}
		client.Close()
		server.Close()
		l.Close()
	}
}

// redirect leads everything for ports 1000 to 1999 to the port of the listener.
func redirect(t *testing.T, to netip.AddrPort) {
	t.Helper()
	run(t, "", "nft", "flush", "ruleset")
	run(t, fmt.Sprintf(rules, to.Port()), "nft", "-f", "-")
}

// runInNamespace runs this test again, as the only one, in a new network
// namespace, which ends with the process.
func runInNamespace(t *testing.T) {
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("SKIPPED: needs linux and root to make a network namespace")
	}
	for _, tool := range []string{"nft", "ip", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: needs %s: %v", tool, err)
		}
	}
	script := `ip link set lo up && ip addr add 198.18.0.1/32 dev lo && ip addr add fd00::1/128 dev lo nodad && exec "$0" -test.run='^TestOf$' -test.v`
	cmd := exec.Command("unshare", "-n", "sh", "-ec", script, os.Args[0])
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in a network namespace: %v\n%s", err, out)
	}
}

func run(t *testing.T, stdin, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

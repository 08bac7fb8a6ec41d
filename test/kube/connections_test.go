package kube

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// connection is one that was opened, as the ends have it: behind Services and masquerading.
type connection struct {
	from, to netip.Addr
	protocol corev1.Protocol
	port     uint16
	// second is the Unix time, by which an address is that of a pod.
	second int64
}

// maxConnections bounds what is kept; a run has some thousands.
const maxConnections = 1 << 18

// observer follows, while the test runs, which connections are opened on the node, and
// which pod has which address.
type observer struct {
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu          sync.Mutex
	connections map[connection]bool
	pods        map[netip.Addr][]*corev1.Pod // the newest form of each
	errs        []error
}

// observe starts an observer, which ends with the test. It is nil, with the reason, where
// there is no connection tracking at hand.
func observe(c *cluster) (*observer, error) {
	c.Helper()
	if out, err := c.try("conntrack", "-C"); err != nil {
		return nil, fmt.Errorf("conntrack, of Debian's package of that name, as root: %w: %s", err, out)
	}
	ctx, cancel := context.WithCancel(c.Context())
	o := &observer{cancel: cancel, connections: map[connection]bool{}, pods: map[netip.Addr][]*corev1.Pod{}}
	c.Cleanup(func() { o.stop() })
	// Events that do not fit into the buffer are lost, with a message: on a machine that is
	// busy its reader comes first.
	o.follow(ctx, c, o.readConnections, "nice", "-n", "-15", "conntrack", "-E", "-e", "NEW", "-o", "extended", "--buffer-size", "33554432")
	o.follow(ctx, c, o.readPods, "kubectl", "get", "pods", "-A", "--watch", "--output-watch-events", "-o", "json")
	return o, nil
}

// follow reads what a command prints until the observer is stopped. It is an error when
// the command ends before.
func (o *observer) follow(ctx context.Context, c *cluster, read func(io.Reader) error, name string, args ...string) {
	c.Helper()
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr bytes.Buffer
	cmd.Env, cmd.Stderr, cmd.WaitDelay = c.env, &stderr, time.Second
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		c.Fatalf("%s: %v", name, err)
	}
	o.ended.Go(func() {
		readErr := read(out)
		stopped := ctx.Err() != nil
		if readErr != nil {
			o.cancel() // nothing that comes can be read
		}
		waitErr := cmd.Wait()
		o.mu.Lock()
		defer o.mu.Unlock()
		if !stopped {
			o.errs = append(o.errs, fmt.Errorf("%s ended early: %w: %s", name, errors.Join(readErr, waitErr), stderr.String()))
		} else if text := stderr.String(); strings.Contains(text, "ENOBUFS") {
			o.errs = append(o.errs, fmt.Errorf("%s lost events: %s", name, text))
		}
	})
}

// stop ends the observer, and returns what was wrong with it.
func (o *observer) stop() error {
	o.cancel()
	o.ended.Wait()
	return errors.Join(o.errs...)
}

func (o *observer) readConnections(r io.Reader) error {
	for lines := bufio.NewScanner(r); ; {
		if !lines.Scan() {
			return lines.Err()
		}
		event, ok, err := parseEvent(lines.Text())
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		event.second = time.Now().Unix()
		o.mu.Lock()
		o.connections[event] = true
		full := len(o.connections) > maxConnections
		o.mu.Unlock()
		if full {
			return fmt.Errorf("more than %d connections", maxConnections)
		}
	}
}

// parseEvent reads an event of conntrack -o extended. It is ok where it is the beginning
// of a TCP connection, or of an exchange by UDP. The first addresses are those that the
// client has of itself and of the server, the second those that the server has.
func parseEvent(line string) (event connection, ok bool, err error) {
	fields := strings.Fields(line)
	if len(fields) < 4 || fields[0] != "[NEW]" {
		return event, false, nil
	}
	switch {
	case fields[3] == "tcp" && slices.Contains(fields, "SYN_SENT"): // others are met in the middle
		event.protocol = corev1.ProtocolTCP
	case fields[3] == "udp":
		event.protocol = corev1.ProtocolUDP
	default:
		return event, false, nil
	}
	values := map[string][]string{}
	for _, f := range fields {
		if key, value, found := strings.Cut(f, "="); found {
			values[key] = append(values[key], value)
		}
	}
	if len(values["src"]) != 2 || len(values["sport"]) != 2 {
		return event, false, fmt.Errorf("event %q has not two sources", line)
	}
	if event.protocol == corev1.ProtocolUDP && values["sport"][0] == "53" {
		return event, false, nil // the answer of a DNS server that was stopped, to a question that is forgotten
	}
	from, fromErr := netip.ParseAddr(values["src"][0])
	to, toErr := netip.ParseAddr(values["src"][1])
	_, portErr := fmt.Sscan(values["sport"][1], &event.port)
	if err := errors.Join(fromErr, toErr, portErr); err != nil {
		return event, false, fmt.Errorf("event %q: %w", line, err)
	}
	event.from, event.to = from, to
	return event, true, nil
}

func (o *observer) readPods(r io.Reader) error {
	for d := json.NewDecoder(r); ; {
		var event struct{ Object corev1.Pod }
		err := d.Decode(&event)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil // kubectl ended, and says why
		}
		if err != nil {
			return err
		}
		o.notePod(&event.Object)
	}
}

func (o *observer) notePod(p *corev1.Pod) {
	if p.Spec.HostNetwork {
		return // its addresses are the node's
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, ip := range p.Status.PodIPs {
		addr, err := netip.ParseAddr(ip.IP)
		if err != nil {
			continue
		}
		same := func(q *corev1.Pod) bool { return q.UID == p.UID }
		if i := slices.IndexFunc(o.pods[addr], same); i >= 0 {
			o.pods[addr][i] = p
		} else {
			o.pods[addr] = append(o.pods[addr], p)
		}
	}
}

// podAt returns the pod that had an address then, or nil: the youngest that was made before.
// After a pod's end its address is still that pod's, until another gets it.
func (o *observer) podAt(addr netip.Addr, second int64) *corev1.Pod {
	before := slices.DeleteFunc(slices.Clone(o.pods[addr]), func(p *corev1.Pod) bool { return p.CreationTimestamp.Unix() > second })
	if len(before) == 0 {
		return nil
	}
	return slices.MaxFunc(before, func(a, b *corev1.Pod) int {
		return cmp.Compare(a.CreationTimestamp.Unix(), b.CreationTimestamp.Unix())
	})
}

func TestParseEvent(t *testing.T) {
	at := func(from, to string, protocol corev1.Protocol, port uint16) connection {
		return connection{from: netip.MustParseAddr(from), to: netip.MustParseAddr(to), protocol: protocol, port: port}
	}
	for _, c := range []struct {
		name, line string
		want       connection
		ok, bad    bool
	}{
		{"a Service's address becomes the pod's",
			"    [NEW] ipv4     2 tcp      6 120 SYN_SENT src=198.18.0.5 dst=198.19.0.7 sport=34567 dport=80 [UNREPLIED] src=198.18.0.9 dst=198.18.0.5 sport=8080 dport=34567",
			at("198.18.0.5", "198.18.0.9", corev1.ProtocolTCP, 8080), true, false},
		{"masquerading does not hide the client",
			"    [NEW] ipv4     2 udp      17 30 src=198.18.0.5 dst=198.19.0.10 sport=5353 dport=53 [UNREPLIED] src=198.18.255.1 dst=198.18.255.1 sport=53 dport=5353",
			at("198.18.0.5", "198.18.255.1", corev1.ProtocolUDP, 53), true, false},
		{"IPv6",
			"    [NEW] ipv6     10 tcp      6 120 SYN_SENT src=fd00::5 dst=fd00::9 sport=34567 dport=80 [UNREPLIED] src=fd00::9 dst=fd00::5 sport=80 dport=34567",
			at("fd00::5", "fd00::9", corev1.ProtocolTCP, 80), true, false},
		{"met in the middle",
			"    [NEW] ipv4     2 tcp      6 300 ESTABLISHED src=198.18.255.1 dst=198.18.0.5 sport=6443 dport=34567 [UNREPLIED] src=198.18.0.5 dst=198.18.255.1 sport=34567 dport=6443",
			connection{}, false, false},
		{"another protocol", "    [NEW] ipv4     2 icmp     1 30 src=198.18.0.5 dst=198.18.0.1 type=8 code=0 id=1 [UNREPLIED] src=198.18.0.1 dst=198.18.0.5 type=0 code=0 id=1", connection{}, false, false},
		{"another line", "conntrack v1.4.7 (conntrack-tools): 2 flow events have been shown.", connection{}, false, false},
		{"a late answer of DNS", "    [NEW] ipv4     2 udp      17 30 src=198.18.255.1 dst=198.18.0.5 sport=53 dport=55343 [UNREPLIED] src=198.18.0.5 dst=198.18.255.1 sport=55343 dport=53", connection{}, false, false},
		{"half an event", "    [NEW] ipv4     2 udp      17 30 src=198.18.0.5 dst=198.19.0.10 sport=5353 dport=53", connection{}, false, true},
		{"no address", "    [NEW] ipv4     2 udp      17 30 src=x dst=198.19.0.10 sport=5353 dport=53 [UNREPLIED] src=198.18.255.1 dst=198.18.255.1 sport=53 dport=5353", connection{}, false, true},
	} {
		got, ok, err := parseEvent(c.line)
		if ok != c.ok || (err != nil) != c.bad || ok && got != c.want {
			t.Errorf("%s: %+v, %v, %v", c.name, got, ok, err)
		}
	}
}

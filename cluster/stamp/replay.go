package stamp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/cluster/annotation"
)

// Replay is the value of the annotation annotation.Replay, by which the pods of a
// workload take part in a replay: they get a sidecar that routes their outbound
// connections, and the labels by which the generator finds them.
type Replay struct {
	// ID is the report's id, and the value of the label annotation.ReplayID.
	ID string `json:"id"`
	// Name is the TrafficReplay's, as namespace/name.
	Name string `json:"name"`
	// Target is the value of the label annotation.ReplayTarget: which of the
	// replay's workloads this is.
	Target string `json:"target"`
	// Kind and Workload name the workload, whose pods may not have a Stamp.
	Kind     string `json:"kind"`
	Workload string `json:"workload"`
	// Responder is host:port; empty where nothing is mocked.
	Responder string `json:"responder,omitempty"`
	// Mocks are what the responder answers for. Other hosts stay real.
	Mocks []config.Mock `json:"mocks,omitempty"`
	// HostAliases has their names resolve by the pod's /etc/hosts, in place of DNS.
	HostAliases bool `json:"hostAliases,omitempty"`
}

// ParseReplay reads it.
func ParseReplay(text string) (Replay, error) {
	var r Replay
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	if err := dec.Decode(&r); err != nil {
		return Replay{}, fmt.Errorf("annotation %s: %w", annotation.Replay, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Replay{}, fmt.Errorf("annotation %s: something follows the replay", annotation.Replay)
	}
	if r.ID == "" || r.Target == "" || r.Kind == "" || r.Workload == "" {
		return Replay{}, fmt.Errorf("annotation %s: id, target, kind or workload is empty", annotation.Replay)
	}
	if err := r.check(); err != nil {
		return Replay{}, fmt.Errorf("annotation %s: %w", annotation.Replay, err)
	}
	return r, nil
}

// check keeps from pods what the API server would refuse them for, or their sidecar
// would not start with.
func (r Replay) check() error {
	for _, label := range []string{r.ID, r.Target} {
		if wrong := validation.IsValidLabelValue(label); len(wrong) > 0 {
			return fmt.Errorf("id or target %q: %s", label, wrong[0])
		}
	}
	if len(r.Mocks) > 0 && r.Responder == "" {
		return errors.New("mocks have no responder")
	}
	if r.Responder != "" {
		if host, port, err := net.SplitHostPort(r.Responder); err != nil || host == "" || !isPort(port) {
			return fmt.Errorf("responder %q: want host:port", r.Responder)
		}
	}
	for _, m := range r.Mocks {
		host, _, ok := Place(m)
		// They travel in one variable: KEY=ALPN, with commas between them.
		if !ok || len(host) > maxHost || strings.ContainsAny(m.Key, ",= \t\r\n$") {
			return fmt.Errorf("mock %q: want service:host:port", m.Key)
		}
		if m.ALPN != "" && m.ALPN != "h2" && m.ALPN != "http/1.1" {
			return fmt.Errorf("mock %q: alpn %q is not h2 or http/1.1", m.Key, m.ALPN)
		}
	}
	return nil
}

// maxHost is the longest name of a host (RFC 1035, section 3.1, without its root).
const maxHost = 253

// Place returns the host and the port of a mock's key, service:host:port. An IPv6
// address is without its brackets.
func Place(m config.Mock) (host string, port uint16, ok bool) {
	_, place, _ := strings.Cut(m.Key, ":")
	i := strings.LastIndex(place, ":")
	if i < 0 {
		return "", 0, false
	}
	n, err := strconv.ParseUint(place[i+1:], 10, 16)
	host = strings.Trim(place[:i], "[]")
	return host, uint16(n), err == nil && n > 0 && host != ""
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// String is the annotation's value: the same for equal replays.
func (r Replay) String() string {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings can always be written
	}
	return string(text)
}

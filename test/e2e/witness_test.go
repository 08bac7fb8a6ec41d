package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/traffic"
)

// witness stands between proxies and the forwarder, and reads the NATS protocol as
// it passes: it knows which pairs the forwarder has acknowledged, whatever the two
// say about it.
type witness struct {
	t        *testing.T
	listener net.Listener
	upstream string
	secret   []byte // to look for in what proxies publish; nil for nothing

	mu      sync.Mutex
	sent    map[string][]*traffic.Batch // by the subject of the answer
	acked   map[string]bool             // uuids of pairs
	newest  map[string]time.Time        // acknowledged pair, by producer; before that its first pair
	refused int
	leaked  int               // batches with the secret
	byID    map[string]string // uuid to the request's path, of all that was published
}

// newWitness passes connections on to upstream, which need not be there yet.
func newWitness(t *testing.T, upstream string) *witness {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{
		t: t, listener: l, upstream: upstream,
		sent: map[string][]*traffic.Batch{}, acked: map[string]bool{}, newest: map[string]time.Time{}, byID: map[string]string{},
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { w.relay(c) })
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return w
}

func (w *witness) addr() string { return w.listener.Addr().String() }

func (w *witness) relay(down net.Conn) {
	up, err := net.Dial("tcp", w.upstream)
	if err != nil {
		down.Close()
		return
	}
	// Each side's end is the other's, as after a kill.
	end := sync.OnceFunc(func() { down.Close(); up.Close() })
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-w.t.Context().Done():
			end()
		case <-stop:
		}
	}()
	var both sync.WaitGroup
	both.Go(func() { defer end(); w.read(io.TeeReader(down, up)) })
	both.Go(func() { defer end(); w.read(io.TeeReader(up, down)) })
	both.Wait()
}

// read follows one side of a NATS connection to its end.
func (w *witness) read(r io.Reader) {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		// PUB and MSG end with the payload's size, HPUB and HMSG with those of the
		// headers and of both.
		op := strings.ToUpper(f[0])
		if op != "PUB" && op != "MSG" && op != "HPUB" && op != "HMSG" {
			continue
		}
		size, err := strconv.Atoi(f[len(f)-1])
		if err != nil {
			w.t.Errorf("not the NATS protocol: %q", line)
			return
		}
		payload := make([]byte, size+2)
		if _, err := io.ReadFull(in, payload); err != nil {
			return
		}
		switch payload = payload[:size]; {
		case op == "PUB" && len(f) == 4 && strings.HasPrefix(f[1], bus.RawPairs):
			w.published(f[2], payload)
		case op == "MSG" && size == 0:
			w.acknowledged(f[1])
		case op == "HMSG" && bytes.Contains(payload, []byte(bus.HeaderError)):
			w.mu.Lock()
			w.refused++
			w.mu.Unlock()
		}
	}
}

func (w *witness) published(reply string, payload []byte) {
	b := &traffic.Batch{}
	if err := proto.Unmarshal(payload, b); err != nil {
		w.t.Errorf("what was published is no batch: %v", err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.secret) > 0 && bytes.Contains(payload, w.secret) {
		w.leaked++
	}
	for _, p := range b.Pairs {
		if _, ok := w.newest[b.Producer]; !ok {
			w.newest[b.Producer] = time.Unix(0, p.Ts)
		}
		w.byID[text(p.Uuid)] = p.Location
		p.Http = nil // only the identity is needed
	}
	w.sent[reply] = append(w.sent[reply], b)
}

func (w *witness) acknowledged(subject string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.sent[subject] {
		for _, p := range b.Pairs {
			if at := time.Unix(0, p.Ts); at.After(w.newest[b.Producer]) {
				w.newest[b.Producer] = at
			}
			w.acked[text(p.Uuid)] = true
		}
	}
	delete(w.sent, subject)
}

// text is the usual form of a uuid.
func text(id []byte) string {
	u, err := uuid.FromBytes(id)
	if err != nil {
		return fmt.Sprintf("%x", id)
	}
	return u.String()
}

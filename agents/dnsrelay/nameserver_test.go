package dnsrelay_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// nameserver answers from a zone over UDP and TCP; names without an entry do not
// exist. It keeps what it got and sent.
type nameserver struct {
	addr   netip.AddrPort
	silent atomic.Bool
	asked  atomic.Int64
	mu     sync.Mutex
	sent   [][]byte
}

type zone map[string][]dnsmessage.ResourceBody

func startNameserver(t *testing.T, z zone) *nameserver {
	u, l := listenBoth(t)
	s := &nameserver{addr: u.LocalAddr().(*net.UDPAddr).AddrPort()}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 65535)
		for {
			n, from, err := u.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if answer := s.answer(z, buf[:n], "udp"); answer != nil {
				u.WriteToUDPAddrPort(answer, from)
			}
		}
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				for {
					query, err := readTCP(c)
					if err != nil {
						return
					}
					if answer := s.answer(z, query, "tcp"); answer != nil {
						writeTCP(c, answer)
					}
				}
			})
		}
	})
	t.Cleanup(func() { u.Close(); l.Close(); wg.Wait() })
	return s
}

// listenBoth listens on one port for UDP and TCP. One that is free for the first may be
// taken for the second.
func listenBoth(t *testing.T) (*net.UDPConn, net.Listener) {
	t.Helper()
	for attempt := 0; ; attempt++ {
		u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		must(t, err)
		l, err := net.Listen("tcp", u.LocalAddr().String())
		if err == nil {
			return u, l
		}
		u.Close()
		if attempt == 20 {
			t.Fatal(err)
		}
	}
}

func readTCP(c net.Conn) ([]byte, error) {
	var n [2]byte
	if _, err := io.ReadFull(c, n[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(n[:]))
	_, err := io.ReadFull(c, b)
	return b, err
}

func writeTCP(c net.Conn, b []byte) error {
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}

func (s *nameserver) answer(z zone, query []byte, network string) []byte {
	s.asked.Add(1)
	if s.silent.Load() {
		return nil
	}
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	h.Response, h.RecursionAvailable = true, true
	records, ok := z[strings.ToLower(q.Name.String())]
	if !ok {
		h.RCode = dnsmessage.RCodeNameError
	}
	h.Truncated = network == "udp" && strings.HasPrefix(q.Name.String(), "big.")
	b := dnsmessage.NewBuilder(nil, h)
	b.EnableCompression()
	b.StartQuestions()
	b.Question(q)
	b.StartAnswers()
	owner := q.Name
	for _, r := range records {
		if h.Truncated {
			break
		}
		rh := dnsmessage.ResourceHeader{Name: owner, Class: dnsmessage.ClassINET, TTL: 5}
		switch r := r.(type) {
		case *dnsmessage.AResource:
			if q.Type == dnsmessage.TypeA {
				b.AResource(rh, *r)
			}
		case *dnsmessage.AAAAResource:
			if q.Type == dnsmessage.TypeAAAA {
				b.AAAAResource(rh, *r)
			}
		case *dnsmessage.CNAMEResource:
			b.CNAMEResource(rh, *r)
			owner = r.CNAME
		}
	}
	answer, err := b.Finish()
	if err != nil {
		return nil
	}
	s.mu.Lock()
	s.sent = append(s.sent, answer)
	s.mu.Unlock()
	return answer
}

func a(s string) dnsmessage.ResourceBody {
	return &dnsmessage.AResource{A: netip.MustParseAddr(s).As4()}
}

func aaaa(s string) dnsmessage.ResourceBody {
	return &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(s).As16()}
}

func cname(s string) dnsmessage.ResourceBody {
	return &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(s)}
}

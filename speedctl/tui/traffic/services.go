package traffic

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/signature"
)

// maxNodes bounds the tree, which is made anew for each drawing.
const maxNodes = 2000

// node is a line of the tree of services: a service, whom it is called by or calls, and
// below that the endpoints.
type node struct {
	depth int
	label string
	// query matches the pairs below it.
	query  string
	count  int
	failed int
	total  time.Duration // of all durations
	// plain says that each location is the endpoint itself.
	plain bool

	children map[string]*node
}

func (n *node) mean() time.Duration { return n.total / time.Duration(max(n.count, 1)) }

// child adds a pair to a node below this one.
func (n *node) child(label string, p *traffic.RRPair) *node {
	c := n.children[label]
	if c == nil {
		c = &node{depth: n.depth + 1, label: label, plain: true}
		if n.children == nil {
			n.children = make(map[string]*node)
		}
		n.children[label] = c
	}
	c.count++
	c.total += time.Duration(p.Duration)
	if failed(p) {
		c.failed++
	}
	return c
}

// services is the tree of pairs, line by line: the services by name, and below each what
// is called most first.
func services(pairs []*traffic.RRPair) []*node {
	root := &node{depth: -1}
	for _, p := range pairs {
		service := root.child(serviceOf(p), p)
		service.query = rule("service", p.Service)
		if p.Namespace != "" {
			service.query = rule("namespace", p.Namespace) + " AND " + service.query
		}
		peer := service.child(peerOf(p), p)
		peer.query = service.query + " AND " + rule("direction", direction(p))
		if p.Direction == traffic.Direction_DIRECTION_OUT {
			peer.query += " AND " + rule("networkaddr", p.NetworkAddress)
		}
		endpoint := signature.Endpoint(p.Location)
		leaf := peer.child(strings.TrimSpace(p.Command+" "+endpoint), p)
		leaf.plain = leaf.plain && endpoint == p.Location
		leaf.query = peer.query + " AND " + rule("command", p.Command) + " AND "
		if leaf.plain {
			leaf.query += rule("location", endpoint)
		} else {
			pattern := strings.ReplaceAll(regexp.QuoteMeta(endpoint), regexp.QuoteMeta("{id}"), "[^/?]+")
			leaf.query += `location REGEX ` + quoted("^"+pattern+`(\?.*)?$`)
		}
	}
	var list []*node
	root.walk(&list)
	return list
}

func (n *node) walk(list *[]*node) {
	children := slices.SortedFunc(maps.Values(n.children), func(a, b *node) int {
		if n.depth < 0 {
			return cmp.Compare(a.label, b.label)
		}
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.label, b.label))
	})
	for _, c := range children {
		if len(*list) == maxNodes {
			return
		}
		c.query = "(" + c.query + ")"
		*list = append(*list, c)
		c.walk(list)
	}
}

func serviceOf(p *traffic.RRPair) string {
	name := cmp.Or(p.Service, "(no service)")
	if p.Namespace != "" {
		name = p.Namespace + "/" + name
	}
	return name
}

// peerOf is the side that a pair is on, and of one that was sent to whom.
func peerOf(p *traffic.RRPair) string {
	switch p.Direction {
	case traffic.Direction_DIRECTION_IN:
		return "← requests it received"
	case traffic.Direction_DIRECTION_OUT:
		return "→ " + cmp.Or(p.NetworkAddress, "(no address)")
	}
	return "? no direction"
}

func direction(p *traffic.RRPair) string {
	switch p.Direction {
	case traffic.Direction_DIRECTION_IN:
		return "in"
	case traffic.Direction_DIRECTION_OUT:
		return "out"
	}
	return ""
}

// failed says that the answer is that of a server that failed: a status of 500 or more,
// or of gRPC another than OK.
func failed(p *traffic.RRPair) bool {
	if p.L7Protocol == traffic.GRPCProtocol {
		return p.Status != "0"
	}
	return len(p.Status) == 3 && p.Status >= "500"
}

// refused says that the answer is that the request was wrong.
func refused(p *traffic.RRPair) bool {
	return p.L7Protocol != traffic.GRPCProtocol && len(p.Status) == 3 && p.Status >= "400" && p.Status < "500"
}

// rule is one of the filter language.
func rule(key, value string) string { return key + " IS " + quoted(value) }

func quoted(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
}

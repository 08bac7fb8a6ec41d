package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/speedscale/speedscale/traffic/carry"
)

// maxRoutes is how many routes are told apart, and maxReasons how many reasons in each;
// the rest are summed up in one.
const (
	maxRoutes  = 200
	maxReasons = 20
)

// Carried sums up a route that values were carried over, from a response to a later
// request, or to a response that differs from the recorded one by them alone and
// counts as equal.
type Carried struct {
	// From is the response: "POST /login http.res.body.token"; To is where the value
	// went: "GET /orders http.req.headers.Authorization". Where a value was transformed
	// From is the chain, "transforms.generator[0]", and To the request's endpoint.
	From string `json:"from"`
	To   string `json:"to"`
	// Count is how often the replay's own value stood there.
	Count int64 `json:"count"`
	// Missing is how often the recorded one did, by reason.
	Missing map[string]int64 `json:"missing,omitempty"`
}

// Transformed says that a chain of a test config made the value.
func (c Carried) Transformed() bool { return strings.HasPrefix(c.From, "transforms.") }

// Summary says how often, in words.
func (c Carried) Summary() string {
	text := times(c.Count)
	for _, reason := range slices.Sorted(maps.Keys(c.Missing)) {
		text += fmt.Sprintf(", %s as recorded (%s)", times(c.Missing[reason]), strings.ReplaceAll(reason, "_", " "))
	}
	return text
}

func times(n int64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// AddCarried folds in what became of values that are carried over, or transformed.
func (b *Builder) AddCarried(outcomes []carry.Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range outcomes {
		b.carried(o)
	}
}

func (b *Builder) carried(o carry.Outcome) {
	c := b.route(*o.Route)
	if o.Missing == "" {
		c.Count++
		return
	}
	c.miss(o.Missing, 1)
}

func (c *Carried) miss(reason string, n int64) {
	if c.Missing == nil {
		c.Missing = map[string]int64{}
	}
	if _, known := c.Missing[reason]; !known && len(c.Missing) >= maxReasons {
		reason = "other"
	}
	c.Missing[reason] += n
}

func (b *Builder) route(r carry.Route) *Carried {
	i, ok := b.routes[r]
	if !ok && len(b.part.Carried) >= maxRoutes {
		r = carry.Route{From: otherPath, To: otherPath}
		i, ok = b.routes[r]
	}
	if !ok {
		i = len(b.part.Carried)
		b.routes[r] = i
		b.part.Carried = append(b.part.Carried, Carried{From: r.From, To: r.To})
	}
	return &b.part.Carried[i]
}

func (b *Builder) mergeCarried(list []Carried) {
	for _, c := range list {
		to := b.route(carry.Route{From: c.From, To: c.To})
		to.Count += c.Count
		for reason, n := range c.Missing {
			to.miss(reason, n)
		}
	}
}

func byRoute(a, b Carried) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) }

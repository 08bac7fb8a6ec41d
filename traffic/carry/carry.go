// Package carry finds values that a recorded response gave and a later recorded
// request used (a token, the id of what was made, a cookie), and puts what the
// replayed response gave there into the replayed request.
//
// Find decides once, by the recorded pairs alone. A value is carried where it is
// unlike any that could stand in both by chance (distinct), or where its place says
// what it is (short ids: POST /orders gave an id, and it follows /orders in a path;
// or both places have one name such as orderId). A value that a request had before
// any response of its session did is the client's own, and is never carried.
// Masked values take part: equal values were masked equal.
//
// A value belongs to the session whose response gave it; a session that uses one
// that it was not given takes it from the session that was given it first. The
// first response that gives a value decides what it is in a replay. Later ones that
// gave the same value do so only where the first did not, except cookies, where the
// last one set counts, as in any client.
package carry

import (
	"sync"

	"github.com/speedscale/speedscale/traffic"
)

// Plan is what is carried between the pairs that Find was given. It does not change
// and is safe for concurrent use.
type Plan struct {
	// Pairs has what concerns each pair, by its index; nil where nothing does.
	Pairs []*Pair
	slots int
}

// Pair is what concerns one pair.
type Pair struct {
	// Needs are the indexes of the pairs whose responses this request depends on, all
	// of them earlier ones.
	Needs []int
	// Needed says that another request needs this one's response.
	Needed bool

	uses  []*use
	finds []*find
	// wanted are the places of finds.
	wanted map[spot]bool
}

// Route is where a value came from and where it went, in words.
type Route struct {
	// From is the response that gave the value: "POST /login http.res.body.token".
	From string
	// To is where a request used it, or where a response differs by it alone and is
	// counted as equal, which can be From itself.
	To string
}

// Outcome is what became of a route in one exchange.
type Outcome struct {
	*Route
	// Missing says why the recorded value stood; empty where the replay's own did.
	Missing string
}

// Why a request was sent with the recorded value.
const (
	MissingResponse = "no_response"       // the request that gives it got none
	MissingStatus   = "status_differs"    // it was answered with another class of status
	MissingValue    = "no_value"          // the response had nothing there
	MissingForm     = "cannot_stand_here" // the value cannot be sent in this place
)

// slot is a value that travels.
type slot struct {
	number int
	used   bool
	// giver is the first pair that gives it, from where.
	giver int
	from  string
}

// use is a stretch of a request that a value stands in.
type use struct {
	slot     *slot
	route    *Route
	recorded string
	span     span
}

// Values are those of one pass over the pairs. They are safe for concurrent use.
type Values struct {
	mu   sync.Mutex
	list []value
}

// value is what was observed: nothing yet, nothing for a reason, or text.
type value struct {
	text    string
	known   bool
	missing string
}

// NewValues begins a pass.
func (p *Plan) NewValues() *Values { return &Values{list: make([]value, p.slots)} }

func (v *Values) get(s *slot) value {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.list[s.number]
}

// set takes what a response gave; again says that it replaces what another gave.
func (v *Values) set(s *slot, text string, again bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if old := &v.list[s.number]; !old.known || again {
		*old = value{text: text, known: true}
	}
}

// miss notes why a response did not give a value.
func (v *Values) miss(s *slot, why string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if old := &v.list[s.number]; !old.known {
		old.missing = why
	}
}

// Gives says whether the response has something that concerns the plan.
func (p *Pair) Gives() bool { return p != nil && len(p.finds) > 0 }

// Request returns the request with the values of this pass in their places, nil
// where it is as recorded, and what became of each route.
func (p *Pair) Request(v *Values, recorded *traffic.HTTPRequest) (*traffic.HTTPRequest, []Outcome) {
	if p == nil || len(p.uses) == 0 {
		return nil, nil
	}
	outcomes := make([]Outcome, 0, len(p.uses))
	w := writer{rec: recorded}
	for _, u := range p.uses {
		o := Outcome{Route: u.route}
		switch val := v.get(u.slot); {
		case !val.known:
			if o.Missing = val.missing; o.Missing == "" {
				o.Missing = MissingResponse
			}
		case val.text != u.recorded && !w.write(u.span, val.text):
			o.Missing = MissingForm
		}
		outcomes = append(outcomes, o)
	}
	return w.done(), outcomes
}

// NoResponse notes that a request got no response.
func (p *Pair) NoResponse(v *Values) {
	if p == nil {
		return
	}
	for _, f := range p.finds {
		if f.gives != nil {
			v.miss(f.gives, MissingResponse)
		}
	}
}

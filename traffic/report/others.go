package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxFrom is how many addresses are named of those that others sent from.
const maxFrom = 10

// Received counts what the workload's sidecars saw come in from one address, while
// they took part in the replay.
type Received struct {
	// Address is empty where it is not known.
	Address  string `json:"address,omitempty"`
	Requests int64  `json:"requests"`
	// Connections are those of which no request could be read.
	Connections int64 `json:"connections,omitempty"`
}

// Others is what reached the workload during the replay, and was not the generator's:
// it may have changed what the workload answered.
type Others struct {
	Requests int64 `json:"requests"`
	// From are the addresses with the most of them.
	From []Received `json:"from,omitempty"`
	// Unknown are requests and connections of which it is not known whose they were.
	Unknown Received `json:"unknown"`
	// Unseen says that the sidecars told of none of the replay's own requests, so that
	// nothing is known of others'.
	Unseen bool `json:"unseen,omitempty"`
}

// SendFrom states the addresses that requests are sent from to workloads whose sidecars
// take part in the replay.
func (b *Builder) SendFrom(addresses []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.part.Addresses = append(b.part.Addresses, addresses...)
}

// AddReceived adds what sidecars saw.
func (b *Builder) AddReceived(r Received) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addReceived(r)
}

func (b *Builder) addReceived(r Received) {
	i := slices.IndexFunc(b.part.Received, func(old Received) bool { return old.Address == r.Address })
	if i < 0 {
		b.part.Received = append(b.part.Received, r)
		return
	}
	b.part.Received[i].add(r)
}

func (r *Received) add(more Received) {
	r.Requests += more.Requests
	r.Connections += more.Connections
}

// others tells what was the generators' from the rest; nil where there is nothing to say.
func (p *Part) others() *Others {
	if len(p.Addresses) == 0 {
		return nil // no sidecar sees what is sent
	}
	var o Others
	own := false
	for _, r := range p.Received {
		switch {
		case r.Address == "":
			o.Unknown.add(r)
		case slices.Contains(p.Addresses, r.Address):
			own = true
		default:
			o.Requests += r.Requests
			o.From = append(o.From, r)
		}
	}
	o.Unseen = p.Requests.Sent > p.Requests.Errors && !own && o.Unknown == Received{}
	slices.SortFunc(o.From, func(a, b Received) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), strings.Compare(a.Address, b.Address))
	})
	o.From = o.From[:min(len(o.From), maxFrom)]
	if o.Requests == 0 && o.Unknown == (Received{}) && !o.Unseen {
		return nil
	}
	return &o
}

// warnings say what of others a person should know.
func (o *Others) warnings() (list []string) {
	if o == nil {
		return nil
	}
	if o.Requests > 0 {
		var from []string
		for _, r := range o.From {
			from = append(from, fmt.Sprintf("%s: %d", r.Address, r.Requests))
		}
		list = append(list, fmt.Sprintf("%d requests of others reached the workload during the replay, and may have changed what it answered (%s)",
			o.Requests, strings.Join(from, ", ")))
	}
	if u := o.Unknown; u.Requests > 0 || u.Connections > 0 {
		list = append(list, fmt.Sprintf("%d requests and %d connections that reached the workload could not be read: whether others sent them is not known", u.Requests, u.Connections))
	}
	if o.Unseen {
		list = append(list, "whether others sent requests to the workload is not known: its sidecars told of none of the replay's own")
	}
	return list
}

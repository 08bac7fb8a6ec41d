package catalog

import "slices"

// Range is a run of batches of one producer without a gap.
type Range struct {
	FirstBatch, LastBatch uint64
	// FirstPair and LastPair number the pairs in them; LastPair is one less
	// than FirstPair where there are none.
	FirstPair, LastPair uint64
	// From and To bound their pairs' times, in Unix nanoseconds; both 0 where
	// there are none.
	From, To int64
}

// Ranges is the set of batches seen of one producer, in order, coalesced.
type Ranges struct {
	list []Range
}

// NewRanges returns the set of some ranges, in any order.
func NewRanges(list ...Range) *Ranges {
	rs := &Ranges{}
	for _, r := range list {
		rs.Add(r)
	}
	return rs
}

// All returns the ranges in order.
func (rs *Ranges) All() []Range { return rs.list }

// Has says whether a batch is in the set.
func (rs *Ranges) Has(batch uint64) bool {
	i := rs.after(batch)
	return i > 0 && rs.list[i-1].LastBatch >= batch
}

// after returns the index of the first range that starts after a batch.
func (rs *Ranges) after(batch uint64) int {
	// Batches nearly always come in order.
	if n := len(rs.list); n == 0 || rs.list[n-1].FirstBatch <= batch {
		return n
	}
	i, _ := slices.BinarySearchFunc(rs.list, batch, func(r Range, b uint64) int {
		if r.FirstBatch > b {
			return 1
		}
		return -1
	})
	return i
}

// Add puts a range into the set. It must not overlap what is there.
func (rs *Ranges) Add(r Range) {
	i := rs.after(r.FirstBatch)
	rs.list = slices.Insert(rs.list, i, r)
	if i+1 < len(rs.list) && rs.list[i].LastBatch+1 == rs.list[i+1].FirstBatch {
		rs.join(i)
	}
	if i > 0 && rs.list[i-1].LastBatch+1 == rs.list[i].FirstBatch {
		rs.join(i - 1)
	}
}

// join makes one range of i and i+1.
func (rs *Ranges) join(i int) {
	a, b := &rs.list[i], rs.list[i+1]
	a.LastBatch = b.LastBatch
	a.LastPair = max(a.LastPair, b.LastPair)
	switch {
	case a.To == 0:
		a.From, a.To = b.From, b.To
	case b.To != 0:
		a.From, a.To = min(a.From, b.From), max(a.To, b.To)
	}
	rs.list = slices.Delete(rs.list, i+1, i+2)
}

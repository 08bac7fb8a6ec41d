package mask

import "slices"

// place is a set of the places in a pair where a rule holds.
type place uint16

const (
	inReqHeader place = 1 << iota
	inReqCookie
	inReqQuery
	inReqBody
	inReqTrailer
	inResHeader
	inResCookie
	inResBody
	inResTrailer
	inSession
	inTags
	everywhere place = 1<<iota - 1
)

// names finds the keys that rules name, in one pass over a key: an Aho–Corasick
// automaton over all names of all places. Letters are compared without case,
// and _ - and space are skipped, so that api_key, apiKey and API-Key are one
// name. The parts of user.password and user[password] are names of their own.
type names struct {
	class   [256]uint8 // of each byte; classOther where no name uses it
	classes int
	next    []uint16 // state × class → state
	out     []place  // places of the names that end in a state
}

const (
	classOther uint8 = iota
	classStart       // where a part starts
	classEnd         // where a part ends
	classFirst       // the first one for bytes
	classSkip  uint8 = 254
	classSplit uint8 = 255
)

// name is a rule: a key in a place. Without a star it is a whole part of a key.
type name struct {
	text       string
	open, left bool // a star before, a star after
	places     place
}

func newNames(list []name) *names {
	n := &names{classes: int(classFirst)}
	for _, c := range "_- " {
		n.class[c] = classSkip
	}
	for _, c := range ".[]:/" {
		n.class[c] = classSplit
	}
	for _, nm := range list {
		for i := range len(nm.text) {
			n.addClass(lower(nm.text[i]))
		}
	}
	for c := byte('A'); c <= 'Z'; c++ {
		n.class[c] = n.class[c|0x20]
	}
	n.addState()
	for _, nm := range list {
		n.add(nm)
	}
	n.link()
	return n
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

func (n *names) addClass(c byte) {
	if n.class[c] == classOther && n.classes < int(classSkip) {
		n.class[c] = uint8(n.classes)
		n.classes++
	}
}

func (n *names) addState() uint16 {
	n.next = append(n.next, make([]uint16, n.classes)...)
	n.out = append(n.out, 0)
	return uint16(len(n.out) - 1)
}

func (n *names) add(nm name) {
	var s uint16
	step := func(class uint8) {
		at := int(s)*n.classes + int(class)
		if n.next[at] == 0 {
			to := n.addState()
			n.next[at] = to
		}
		s = n.next[at]
	}
	if !nm.open {
		step(classStart)
	}
	for i := range len(nm.text) {
		switch c := n.class[nm.text[i]]; c {
		case classSkip:
		case classSplit:
			step(classEnd)
			step(classStart)
		default:
			step(c)
		}
	}
	if !nm.left {
		step(classEnd)
	}
	if s != 0 {
		n.out[s] |= nm.places
	}
}

// link turns the tree of names into an automaton: a missing branch leads to
// where the longest suffix of what was read leads.
func (n *names) link() {
	fail := make([]uint16, len(n.out))
	var queue []uint16
	for c := range n.classes {
		if s := n.next[c]; s != 0 {
			queue = append(queue, s)
		}
	}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		n.out[s] |= n.out[fail[s]]
		for c := range n.classes {
			at, other := int(s)*n.classes+c, n.next[int(fail[s])*n.classes+c]
			if to := n.next[at]; to != 0 {
				fail[to] = other
				queue = append(queue, to)
			} else {
				n.next[at] = other
			}
		}
	}
	n.next, n.out = slices.Clip(n.next), slices.Clip(n.out)
}

// find returns the places in which the key is to be masked.
func find[T string | []byte](n *names, key T) place {
	at := func(s uint16, class uint8) uint16 { return n.next[int(s)*n.classes+int(class)] }
	s := at(0, classStart)
	found := n.out[s]
	for i := range len(key) {
		switch c := n.class[key[i]]; c {
		case classSkip:
			continue
		case classSplit:
			s = at(s, classEnd)
			found |= n.out[s]
			s = at(s, classStart)
		default:
			s = at(s, c)
		}
		found |= n.out[s]
	}
	return found | n.out[at(s, classEnd)]
}

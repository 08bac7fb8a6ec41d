package mask

import (
	"bytes"

	"github.com/speedscale/speedscale/traffic/jsonscan"
)

// jsonRewriter masks JSON in one pass over its bytes. Keys keep their order, and
// all that is not masked stays as it was written.
type jsonRewriter struct {
	w       *work
	in      place
	paths   []jsonscan.Path
	src     []byte
	out     []byte
	copied  int // how much of src is in out, or masked
	changed bool
	nested  int // documents in strings of documents
}

// maxNested is how deep JSON in strings of JSON is looked into.
const maxNested = 4

// json appends the masked form of a sequence of JSON values, such as one
// document, or JSON Lines. ok is false where src is no such thing.
func (w *work) json(dst, src []byte, in place, nested int) (out []byte, changed, ok bool) {
	mark := len(dst)
	j := jsonRewriter{w: w, in: in, src: src, out: dst, nested: nested}
	alive := uint64(0)
	if nested == 0 {
		j.paths = w.paths[pathsOf(in)]
		alive = 1<<len(j.paths) - 1
	}
	all := w.all&in != 0 || j.ended(alive, 0) != 0
	i := 0
	if bytes.HasPrefix(src, []byte("\ufeff")) { // RFC 8259, section 8.1, lets readers ignore it
		i = len("\ufeff")
	}
	for i = jsonscan.Space(src, i); i < len(src); {
		// RFC 7464 starts each value of a sequence with a record separator.
		if src[i] == 0x1e {
			i = jsonscan.Space(src, i+1)
			continue
		}
		end, ok := j.valueAt(i, 0, all, alive)
		if !ok {
			return dst[:mark], false, false
		}
		i = jsonscan.Space(src, end)
	}
	if !j.changed {
		return dst[:mark], false, true
	}
	return append(j.out, src[j.copied:]...), true, true
}

// ended returns the paths that have no step left after depth steps.
func (j *jsonRewriter) ended(alive uint64, depth int) uint64 {
	var ended uint64
	for k := range j.paths {
		if alive&(1<<k) != 0 && j.paths[k].Len() == depth {
			ended |= 1 << k
		}
	}
	return ended
}

// valueAt masks the value at src[i] and returns its end. all says that every
// leaf of it is masked; alive are the paths that lead here or further down.
func (j *jsonRewriter) valueAt(i, depth int, all bool, alive uint64) (end int, ok bool) {
	if i >= len(j.src) || depth > jsonscan.MaxDepth {
		return i, false
	}
	switch c := j.src[i]; {
	case c == '"':
		end, escaped, ok := jsonscan.String(j.src, i)
		if ok {
			j.stringAt(i, end, escaped, all)
		}
		return end, ok
	case c == '{' || c == '[':
		return j.members(i, depth, all, alive)
	case c == '-' || isDigit(c):
		end, ok := jsonscan.Number(j.src, i)
		if ok && (all || j.w.discover && j.w.patterns[catCard] && end-i >= 13 && card(j.src[i:end]) == end-i) {
			if masked := j.w.number(nil, j.src[i:end]); !bytes.Equal(masked, j.src[i:end]) {
				j.replace(i, end)
				j.out = append(j.out, masked...)
			}
		}
		return end, ok
	}
	return jsonscan.Literal(j.src, i)
}

func (j *jsonRewriter) members(i, depth int, all bool, alive uint64) (end int, ok bool) {
	m := jsonscan.Walk(j.src, i, depth)
	for m.Next() {
		below := all
		if m.Object() {
			below = j.key(&m) || all
		}
		var next uint64
		if alive != 0 {
			for k := range j.paths {
				if alive&(1<<k) != 0 && j.paths[k].Len() > depth && j.paths[k].Takes(depth, &m, nil) {
					next |= 1 << k
				}
			}
			below = below || j.ended(next, depth+1) != 0
		}
		end, ok := j.valueAt(m.Pos(), depth+1, below, next)
		if !ok {
			return end, false
		}
		m.SetPos(end)
	}
	return m.Pos(), m.OK()
}

// key says whether a rule names the key. A key that holds a secret itself, such
// as an address that entries are kept under, is masked by patterns.
func (j *jsonRewriter) key(m *jsonscan.Members) bool {
	key := m.Key
	var plain []byte
	if m.Escaped {
		plain = jsonscan.Unescape(j.w.buffer(), key)
		key = plain
	}
	named := find(j.w.names, key)&j.in != 0
	if len(key) > 5 && j.w.discover {
		if masked, changed := j.w.text(j.w.buffer(), key, 0); changed {
			j.replace(m.KeyPos, m.KeyPos+len(m.Key)+2)
			j.out = jsonscan.AppendString(j.out, masked)
			j.w.done(masked)
		} else {
			j.w.done(masked)
		}
	}
	if m.Escaped {
		j.w.done(plain)
	}
	return named
}

// replace takes src[start:end] out; what comes instead is appended to out.
func (j *jsonRewriter) replace(start, end int) {
	j.out = append(j.out, j.src[j.copied:start]...)
	j.copied = end
	j.changed = true
}

// stringAt masks the string src[i:end], all of it or the secrets in it.
func (j *jsonRewriter) stringAt(i, end int, escaped, all bool) {
	s := j.src[i+1 : end-1]
	if len(s) == 0 {
		return
	}
	if escaped {
		plain := jsonscan.Unescape(j.w.buffer(), s)
		defer j.w.done(plain)
		s = plain
	}
	masked := j.w.buffer()
	var changed bool
	if all {
		masked, changed = j.w.whole(masked, s)
	} else {
		masked, changed = j.w.leaf(masked, s, j.in, j.nested)
	}
	if changed {
		j.replace(i, end)
		j.out = jsonscan.AppendString(j.out, masked)
	}
	j.w.done(masked)
}

// leaf masks a text that may be a JSON document itself.
func (w *work) leaf(dst, s []byte, in place, nested int) ([]byte, bool) {
	if (s[0] == '{' || s[0] == '[') && nested < maxNested && jsonscan.Valid(s) {
		dst, changed, _ := w.json(dst, s, in, nested+1)
		return dst, changed
	}
	return w.text(dst, s, in)
}

// shortNumber is up to how many digits a masked number is a constant.
const shortNumber = 11

// number appends what stands for a number, with as many digits. A short one
// becomes 1 and zeros (an integer part of 0 stays 0): it has too few digits to
// tell a masked number from others, and a masked one must stay as it is when it
// is masked again. A longer one becomes 10, keyed digits, and half as many check
// digits, by which it is known as masked; an original passes for one once in a
// million at the most. Sign and exponent stay.
func (w *work) number(dst, number []byte) []byte {
	var digits []byte
	mantissa := number
	if i := bytes.IndexAny(number, "eE"); i >= 0 {
		mantissa = number[:i]
	}
	for _, c := range mantissa {
		if isDigit(c) {
			digits = append(digits, c)
		}
	}
	masked := w.digits(digits)
	k := 0
	for i, c := range number {
		if i < len(mantissa) && isDigit(c) {
			c = masked[k]
			k++
		}
		dst = append(dst, c)
	}
	return dst
}

func (w *work) digits(digits []byte) []byte {
	n := len(digits)
	masked := bytes.Repeat([]byte("0"), n)
	if digits[0] == '0' {
		return masked
	}
	masked[0] = '1'
	if n <= shortNumber {
		return masked
	}
	check := n / 2
	if string(digits[:2]) == "10" && string(w.decimals(digits[:n-check], check)) == string(digits[n-check:]) {
		return digits
	}
	copy(masked[2:], w.decimals(digits, n-check-2))
	copy(masked[n-check:], w.decimals(masked[:n-check], check))
	return masked
}

// decimals returns n digits that are keyed by what is hashed.
func (w *work) decimals(value []byte, n int) []byte {
	d := make([]byte, n)
	var h []byte
	for i := range d {
		if len(h) == 0 {
			h = w.hash(value)
			value = bytes.Clone(h)
		}
		d[i] = '0' + h[0]%10
		h = h[1:]
	}
	return d
}

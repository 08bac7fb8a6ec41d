package jsonscan

// Members walks the members of one object or the elements of one array. After
// each Next that is true the caller reads the value at Pos and tells its end
// with SetPos, or calls Skip.
type Members struct {
	doc     []byte
	pos     int
	depth   int
	index   int
	object  bool
	started bool
	ok      bool
	// Key is the member's key as written, without its quotes; Escaped says
	// whether it holds escapes. Both are unset in arrays.
	Key     []byte
	Escaped bool
	// KeyPos is where the opening quote of the key stands.
	KeyPos int
}

// Walk starts a walk of the object or array that opens at doc[i], which lies
// depth levels deep.
func Walk(doc []byte, i, depth int) Members { return Members{doc: doc, pos: i, depth: depth} }

// Next goes to the next member, and is false after the last one and where the
// JSON is not valid; OK tells which.
func (m *Members) Next() bool {
	if m.started {
		m.index++
		m.pos = Space(m.doc, m.pos)
		if m.pos >= len(m.doc) {
			return false
		}
		if m.doc[m.pos] == m.close() {
			m.pos++
			m.ok = true
			return false
		}
		if m.doc[m.pos] != ',' {
			return false
		}
		m.pos = Space(m.doc, m.pos+1)
	} else if !m.open() {
		return false
	}
	if m.object && !m.key() {
		return false
	}
	return m.pos < len(m.doc)
}

func (m *Members) open() bool {
	m.started = true
	if m.depth > MaxDepth {
		return false
	}
	m.object = m.doc[m.pos] == '{'
	m.pos = Space(m.doc, m.pos+1)
	if m.pos < len(m.doc) && m.doc[m.pos] == m.close() {
		m.pos++
		m.ok = true
		return false
	}
	return true
}

func (m *Members) close() byte {
	if m.object {
		return '}'
	}
	return ']'
}

func (m *Members) key() bool {
	end, escaped, ok := String(m.doc, m.pos)
	if !ok {
		return false
	}
	m.Key, m.Escaped, m.KeyPos = m.doc[m.pos+1:end-1], escaped, m.pos
	m.pos = Space(m.doc, end)
	if m.pos >= len(m.doc) || m.doc[m.pos] != ':' {
		return false
	}
	m.pos = Space(m.doc, m.pos+1)
	return true
}

// Pos is where the value starts, and after the last Next, where the container ends.
func (m *Members) Pos() int { return m.pos }

// SetPos tells where the value ends.
func (m *Members) SetPos(end int) { m.pos = end }

// Skip goes over the value.
func (m *Members) Skip() bool {
	end, ok := skip(m.doc, m.pos, m.depth+1)
	m.pos = end
	return ok
}

// Object says whether the container is an object.
func (m *Members) Object() bool { return m.object }

// Index is the number of the member, from 0.
func (m *Members) Index() int { return m.index }

// OK says, when Next is false, that the container ended as it should.
func (m *Members) OK() bool { return m.ok }

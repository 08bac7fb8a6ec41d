package mask

// Text masks free text, such as a line of a log: what patterns find in it, and the
// values that follow a key of any place (password=…, "token": "…").
func (m *Masker) Text(s string) string {
	w := m.pool.Get().(*work)
	defer m.pool.Put(w)
	w.field(&s, func(dst, text []byte) ([]byte, bool) { return w.text(dst, text, everywhere) })
	return s
}

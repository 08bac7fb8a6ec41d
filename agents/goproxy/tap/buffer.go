package tap

import (
	"sync"
	"sync/atomic"
)

// BufferSize is the capacity of a Buffer in bytes.
const BufferSize = 32 << 10

// Buffer is a pooled read buffer. The relay that reads into it and the parser
// that looks at it later hold it together; it goes back to the pool when both
// have let go of it.
type Buffer struct {
	B    []byte
	refs atomic.Int32
	pool *sync.Pool
}

// Pool hands out buffers. It is safe for concurrent use.
type Pool struct{ pool sync.Pool }

// NewPool returns a pool of buffers of BufferSize bytes.
func NewPool() *Pool {
	p := &Pool{}
	p.pool.New = func() any { return &Buffer{B: make([]byte, BufferSize), pool: &p.pool} }
	return p
}

// Get returns a buffer that the caller must Release.
func (p *Pool) Get() *Buffer {
	b := p.pool.Get().(*Buffer)
	b.refs.Store(1)
	return b
}

func (b *Buffer) retain() { b.refs.Add(1) }

// Release lets go of the buffer.
func (b *Buffer) Release() {
	if b.refs.Add(-1) == 0 {
		b.pool.Put(b)
	}
}

// Shared says that a parser holds the buffer too: nothing may be read into it.
func (b *Buffer) Shared() bool { return b.refs.Load() > 1 }

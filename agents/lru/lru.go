// Package lru is a bounded map that forgets what was not used for longest, and
// what has expired.
package lru

import (
	"container/list"
	"sync"
	"time"
)

// Cache maps keys to values, each with a time after which it is forgotten. It is
// safe for concurrent use.
type Cache[K comparable, V any] struct {
	mu    sync.Mutex
	limit int
	byKey map[K]*list.Element
	order *list.List // of *entry[K, V], the last used first
}

type entry[K comparable, V any] struct {
	key     K
	value   V
	expires time.Time
}

// New returns a cache of at most limit entries; limit must be positive.
func New[K comparable, V any](limit int) *Cache[K, V] {
	if limit <= 0 {
		panic("lru: limit is not positive")
	}
	return &Cache[K, V]{limit: limit, byKey: make(map[K]*list.Element), order: list.New()}
}

// Get returns the value of a key that has not expired.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.byKey[key]
	if !ok {
		return value, false
	}
	e := el.Value.(*entry[K, V])
	if !time.Now().Before(e.expires) {
		c.remove(el)
		return value, false
	}
	c.order.MoveToFront(el)
	return e.value, true
}

// Put sets the value of a key until the given time. Where the cache is full, the
// entry that was used longest ago makes room.
func (c *Cache[K, V]) Put(key K, value V, expires time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.byKey[key]; ok {
		e := el.Value.(*entry[K, V])
		e.value, e.expires = value, expires
		c.order.MoveToFront(el)
		return
	}
	if c.order.Len() >= c.limit {
		c.remove(c.order.Back())
	}
	c.byKey[key] = c.order.PushFront(&entry[K, V]{key, value, expires})
}

// Len returns how many entries there are, expired ones among them.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.order.Len()
}

func (c *Cache[K, V]) remove(el *list.Element) {
	c.order.Remove(el)
	delete(c.byKey, el.Value.(*entry[K, V]).key)
}

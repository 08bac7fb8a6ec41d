package lru_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/speedscale/speedscale/agents/lru"
)

func TestBound(t *testing.T) {
	c := lru.New[string, int](2)
	later := time.Now().Add(time.Hour)
	c.Put("a", 1, later)
	c.Put("b", 2, later)
	c.Get("a")
	c.Put("c", 3, later)
	if _, ok := c.Get("b"); ok {
		t.Error("b was used longest ago and is still there")
	}
	if v, ok := c.Get("a"); !ok || v != 1 {
		t.Errorf("a: %d, %v", v, ok)
	}
	c.Put("a", 4, later)
	if v, _ := c.Get("a"); v != 4 || c.Len() != 2 {
		t.Errorf("a: %d, %d entries", v, c.Len())
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := lru.New[string, int](2)
		c.Put("a", 1, time.Now().Add(time.Minute))
		time.Sleep(time.Minute - 1)
		if _, ok := c.Get("a"); !ok {
			t.Error("a is gone too early")
		}
		time.Sleep(time.Nanosecond)
		if _, ok := c.Get("a"); ok || c.Len() != 0 {
			t.Error("a has expired and is still there")
		}
	})
}

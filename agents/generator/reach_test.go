package generator

import (
	"context"
	"net"
	"net/url"
	"testing"
	"time"
)

// TestTargetThatIsNotReachedYet: a pod's Service refuses connections for a moment after the pod is ready, which is no
// error of the app's.
func TestTargetThatIsNotReachedYet(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	var s Settings
	s.Targets = map[string]*url.URL{"later": {Scheme: "http", Host: address}, "as recorded": {Scheme: "https"}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.reach(t.Context())
	}()
	select {
	case <-done:
		t.Fatal("it does not wait")
	case <-time.After(300 * time.Millisecond):
	}
	if l, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("it goes on waiting")
	}
}

// TestTargetWhoseNameIsNotKnownYet: what is not a refusal is no answer either, and others are waited for meanwhile.
func TestTargetWhoseNameIsNotKnownYet(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := make(chan struct{})
	go func() {
		if c, err := l.Accept(); err == nil {
			c.Close()
			close(taken)
		}
	}()
	var s Settings
	s.Targets = map[string]*url.URL{"never": {Scheme: "http", Host: "never.invalid:80"}, "there": {Scheme: "http", Host: l.Addr().String()}}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	s.reach(ctx)
	if ctx.Err() == nil {
		t.Error("it does not wait for the name")
	}
	select {
	case <-taken:
	default:
		t.Error("the other target was not tried")
	}
}

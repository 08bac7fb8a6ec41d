package generator

import (
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

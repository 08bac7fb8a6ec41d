package forward_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/speedscale/speedscale/cluster/forward"
)

// apiServer answers port-forwards to pods with connections to an address, as a
// kubelet does.
type apiServer struct {
	address string

	mu    sync.Mutex
	asked []string // paths
	conns []httpstream.Connection
	ports []string
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		http.Error(w, "no websockets here", http.StatusBadRequest) // as servers before 1.31 do
		return
	}
	if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
		return
	}
	streams := make(chan httpstream.Stream, 16)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		streams <- s
		return nil
	})
	if conn == nil {
		return
	}
	a.mu.Lock()
	a.asked, a.conns = append(a.asked, r.URL.Path), append(a.conns, conn)
	a.mu.Unlock()
	failures := map[string]httpstream.Stream{}
	for {
		select {
		case <-conn.CloseChan():
			return
		case s := <-streams:
			id := s.Headers().Get(corev1.PortForwardRequestIDHeader)
			if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
				failures[id] = s
				continue
			}
			a.mu.Lock()
			a.ports = append(a.ports, s.Headers().Get(corev1.PortHeader))
			a.mu.Unlock()
			go a.relay(s, failures[id])
		}
	}
}

func (a *apiServer) relay(data, failure httpstream.Stream) {
	defer failure.Close()
	defer data.Close()
	c, err := net.Dial("tcp", a.address)
	if err != nil {
		fmt.Fprintf(failure, "connection refused by %s", "the app")
		return
	}
	defer c.Close()
	go io.Copy(c, data)
	io.Copy(data, c)
}

func (a *apiServer) drop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.conns {
		c.Close()
	}
}

func objects(ready corev1.ConditionStatus) kubernetes.Interface {
	pod := func(name string, status corev1.ConditionStatus) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "there", Labels: map[string]string{"app": "cloud"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "cloud", Ports: []corev1.ContainerPort{{Name: "api", ContainerPort: 8080}}}}},
			Status: corev1.PodStatus{
				Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}},
				ContainerStatuses: []corev1.ContainerStatus{{Name: "cloud", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}},
			},
		}
	}
	return fake.NewClientset(pod("cloud-0", corev1.ConditionFalse), pod("cloud-1", ready), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "cloud", Namespace: "there"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "cloud"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("api")}}},
	})
}

// open starts an app and an API server before it, and returns the way to the app.
func open(t *testing.T) (*apiServer, *forward.Forward) {
	t.Helper()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, io.MultiReader(strings.NewReader("echo: "), r.Body))
	}))
	t.Cleanup(app.Close)
	a := &apiServer{address: app.Listener.Addr().String()}
	api := httptest.NewServer(a)
	t.Cleanup(func() { a.drop(); api.Close() })
	f := forward.New(forward.Options{Config: &rest.Config{Host: api.URL}, Client: objects(corev1.ConditionTrue), Namespace: "there", Service: "cloud"})
	t.Cleanup(func() { f.Close() })
	return a, f
}

func post(t *testing.T, c *http.Client, url, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

func TestConnectionsShareOneWay(t *testing.T) {
	a, f := open(t)
	body := strings.Repeat("0123456789", 50_000)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			web := &http.Client{Transport: &http.Transport{DialContext: f.DialContext}}
			defer web.CloseIdleConnections()
			if got := post(t, web, "http://localhost", body); got != "echo: "+body {
				t.Errorf("%d bytes came back", len(got))
			}
		})
	}
	wg.Wait()
	if len(a.asked) != 1 || a.asked[0] != "/api/v1/namespaces/there/pods/cloud-1/portforward" {
		t.Errorf("asked for %q, want the ready pod, once", a.asked)
	}
	if len(a.ports) != 8 || a.ports[0] != "8080" {
		t.Errorf("ports are %v", a.ports)
	}
}

func TestLostWayIsMadeAnew(t *testing.T) {
	a, f := open(t)
	web := &http.Client{Transport: &http.Transport{DialContext: f.DialContext, DisableKeepAlives: true}}
	post(t, web, "http://localhost", "one")
	a.drop()
	// The loss is seen a moment later, and costs a connection until then.
	deadline := time.Now().Add(30 * time.Second)
	for {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost", strings.NewReader("two"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := web.Do(req)
		if err == nil {
			res.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if len(a.asked) < 2 {
		t.Errorf("asked %d times", len(a.asked))
	}
}

func TestLoopbackPort(t *testing.T) {
	_, f := open(t)
	address, err := f.Listen()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := f.Listen(); err != nil || again != address {
		t.Errorf("a second call returns %q (%v)", again, err)
	}
	web := &http.Client{Transport: &http.Transport{}}
	defer web.CloseIdleConnections()
	if got := post(t, web, "http://"+address, "x"); got != "echo: x" {
		t.Errorf("got %q", got)
	}
}

func TestErrorsNameWhatIsWrong(t *testing.T) {
	a, f := open(t)
	a.address = "127.0.0.1:1"
	c, err := f.DialContext(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil || err.Error() != `port 8080 of pod "cloud-1": connection refused by the app` {
		t.Errorf("an app that does not listen: %v", err)
	}

	for want, client := range map[string]kubernetes.Interface{
		`service "cloud" in namespace "there": services "cloud" not found`:                                                      fake.NewClientset(),
		`service "cloud" in namespace "there": none of its 2 pods is ready: pod "cloud-0": container "cloud": ImagePullBackOff`: objects(corev1.ConditionFalse),
	} {
		f := forward.New(forward.Options{Config: &rest.Config{Host: "http://127.0.0.1:1"}, Client: client, Namespace: "there", Service: "cloud"})
		if _, err := f.DialContext(t.Context(), "", ""); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		f.Close()
	}
}

func TestClosed(t *testing.T) {
	_, f := open(t)
	c, err := f.DialContext(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("a connection is open after Close")
	}
	if _, err := f.DialContext(context.Background(), "", ""); err == nil {
		t.Error("a connection was opened after Close")
	}
}

package snapshot_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

func request(host, url string, headers ...string) *traffic.HTTP {
	req := &traffic.HTTPRequest{Host: host, Url: url}
	for i := 0; i < len(headers); i += 2 {
		req.Headers = append(req.Headers, &traffic.Header{Name: headers[i], Value: headers[i+1]})
	}
	return &traffic.HTTP{Req: req}
}

func TestSliceKey(t *testing.T) {
	for _, c := range []struct {
		p    *traffic.RRPair
		want string
	}{
		{&traffic.RRPair{Service: "checkout", NetworkAddress: "api.stripe.com:443"}, "checkout:api.stripe.com:443"},
		{&traffic.RRPair{Service: "s", NetworkAddress: "[::1]:80"}, "s:[::1]:80"},
		{&traffic.RRPair{Service: "s", NetworkAddress: "::1", Http: request("", "https://x")}, "s:[::1]:443"},
		{&traffic.RRPair{Resource: "r", Http: request("shop:8080", "/")}, "r:shop:8080"},
		{&traffic.RRPair{Service: "s", Http: request("shop", "https://shop/")}, "s:shop:443"},
		{&traffic.RRPair{Service: "s", Http: request("shop", "/"), Netinfo: &traffic.NetInfo{Upstream: &traffic.Endpoint{Port: 9000}}}, "s:shop:9000"},
		{&traffic.RRPair{Service: "s", Http: request("shop", "/")}, "s:shop:80"},
		{&traffic.RRPair{Service: "s", Netinfo: &traffic.NetInfo{Upstream: &traffic.Endpoint{IpAddress: "10.0.0.1", Port: 5432}}}, "s:10.0.0.1:5432"},
	} {
		if got := snapshot.SliceKey(c.p); got != c.want {
			t.Errorf("key is %q, want %q", got, c.want)
		}
	}
}

func TestMatch(t *testing.T) {
	keys := []string{"b:pg:5432", "a:api.stripe.com:443", "a:pg:5432"}
	for _, c := range []struct {
		pattern string
		want    []string
		err     string
	}{
		{"*", []string{"a:api.stripe.com:443", "a:pg:5432", "b:pg:5432"}, ""},
		{"a:pg:5432", []string{"a:pg:5432"}, ""},
		{"stripe", []string{"a:api.stripe.com:443"}, ""},
		{"pg", nil, `["a:pg:5432" "b:pg:5432"]`},
		{"redis", nil, "no slice key contains"},
		{"", nil, "empty"},
	} {
		got, err := snapshot.Match(keys, c.pattern)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.pattern, diff)
		}
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: error is %v, want %q", c.pattern, err, c.err)
		}
	}
}

func TestSessionOf(t *testing.T) {
	net := &traffic.NetInfo{Id: "7"}
	tags := map[string]string{traffic.TagProxyID: "pod-1"}
	bearer := &traffic.RRPair{Http: request("", "", "authorization", "Bearer secret"), Netinfo: net}
	cookie := &traffic.RRPair{Http: request("", "", "Cookie", "theme=dark; JSESSIONID=secret"), Netinfo: net}
	for _, c := range []struct {
		name string
		p    *traffic.RRPair
		want string
	}{
		{"given", &traffic.RRPair{Session: "s", Http: bearer.Http}, "s"},
		{"authorization", bearer, "authorization-"},
		{"cookie", cookie, "cookie-"},
		{"connection", &traffic.RRPair{Http: request("", "", "Cookie", "theme=dark; inside=1"), Netinfo: net, Tags: tags}, "connection-pod-1-7"},
		{"nothing", &traffic.RRPair{}, ""},
	} {
		got := snapshot.SessionOf(c.p)
		if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" || strings.Contains(got, "secret") {
			t.Errorf("%s: session is %q, want %q", c.name, got, c.want)
		}
	}
	other := &traffic.RRPair{Http: request("", "", "Cookie", "theme=light; JSESSIONID=secret")}
	if snapshot.SessionOf(other) != snapshot.SessionOf(cookie) {
		t.Error("a change of another cookie makes another session")
	}
}

package client_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/test/privateca"
)

// TestPrivateCA: a cloud with a private CA is reached with it, and without it the error
// says whom speedctl meant, and what is missing.
func TestPrivateCA(t *testing.T) {
	ca := privateca.New(t, "127.0.0.1")
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = ca.Server(t)
	s.StartTLS()
	defer s.Close()
	target := home.Context{Name: "team", AppURL: s.URL, APIKey: "sp_a_b"}
	err := client.CheckAgent(t.Context(), target)
	var said strings.Builder
	(&term.World{Err: &said, Getenv: func(string) string { return "" }}).Fail(err)
	if !strings.Contains(said.String(), `the cloud at `+s.URL+` (context "team") is not reached`) || !strings.Contains(said.String(), "hint: if its CA is a private one") {
		t.Errorf("without the CA: %s", &said)
	}
	target.CA = ca.CA
	if err := client.CheckAgent(t.Context(), target); err == nil || strings.Contains(err.Error(), "not reached") {
		t.Errorf("with the CA: %v", err)
	}
}

// TestRemote finds the context of an address, whose CA is then used.
func TestRemote(t *testing.T) {
	dir := home.Dir(t.TempDir())
	if got := client.Remote(dir, "https://cloud.example"); got.CA != "" || got.AppURL != "https://cloud.example" {
		t.Errorf("without contexts: %+v", got)
	}
	if err := dir.Save(&home.Config{Contexts: []home.Context{{Name: "team", AppURL: "https://cloud.example/", CA: "/ca.pem"}}}); err != nil {
		t.Fatal(err)
	}
	if got := client.Remote(dir, "https://cloud.example"); got.CA != "/ca.pem" || got.Name != "team" {
		t.Errorf("got %+v", got)
	}
	err := client.CheckAgent(t.Context(), client.Remote(dir, "https://cloud.example"))
	if term.CodeOf(err) != term.ExitUsage || !strings.Contains(err.Error(), "/ca.pem") {
		t.Errorf("a CA that is not there: %v", err)
	}
}

package server_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	apiclient "github.com/speedscale/speedscale/cloud/client"
	"github.com/speedscale/speedscale/cloud/server"
)

// page asks for a page as a browser does, with a key as the password where there is one.
func (c *cloud) page(t *testing.T, path, key string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.SetBasicAuth("anyone", key)
	}
	res, err := c.web.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func (c *cloud) putReports(t *testing.T) {
	t.Helper()
	for _, doc := range []string{
		`{"id":"one","name":"first","status":"Passed","finished":"2026-01-01T00:00:00Z","requests":{"sent":7}}`,
		`{"id":"two","name":"<b>bold</b>","status":"Missed Goals","finished":"2026-01-02T00:00:00Z","requests":{"sent":9,"failed":2}}`,
	} {
		if _, err := c.reports.Put(t.Context(), &cloudv1.PutReportRequest{Report: []byte(doc)}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReportPages(t *testing.T) {
	c := start(t, server.Options{DataDir: t.TempDir()}, "")
	if _, body := c.page(t, "/reports/", c.key); !strings.Contains(body, "no report yet") {
		t.Errorf("without reports: %s", body)
	}
	c.putReports(t)
	_, key := c.newKey(t, "read")

	res, body := c.page(t, "/reports/one", key)
	if res.StatusCode != http.StatusOK || !strings.Contains(body, "first: ") || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		t.Errorf("the report is %s: %s", res.Status, body)
	}
	if res.Header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(res.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("headers are %v", res.Header)
	}
	if _, body := c.page(t, "/reports/latest", key); !strings.Contains(body, "&lt;b&gt;bold&lt;/b&gt;: ") {
		t.Errorf("the latest is: %s", body)
	}

	_, list := c.page(t, "/reports", key) // goes on to /reports/
	first, second := strings.Index(list, `<a href="two">&lt;b&gt;bold&lt;/b&gt;</a>`), strings.Index(list, `<a href="one">first</a>`)
	if first < 0 || second < first {
		t.Errorf("the list is not newest first: %s", list)
	}

	res, body = c.page(t, "/reports/nope", key)
	if res.StatusCode != http.StatusNotFound || !strings.Contains(body, "nope") || !strings.Contains(body, "/reports/ lists") {
		t.Errorf("an unknown report is %s: %s", res.Status, body)
	}
	if res, _ := c.page(t, "/reports/one/more", key); res.StatusCode != http.StatusNotFound {
		t.Errorf("below a report there is %s", res.Status)
	}
}

func TestReportPagesNeedAKey(t *testing.T) {
	c := start(t, server.Options{DataDir: t.TempDir()}, "")
	c.putReports(t)
	_, control := c.newKey(t, "control")
	_, read := c.newKey(t, "read")
	forged := read[:len(read)-1] + "x"
	for _, path := range []string{"/reports/", "/reports/one", "/reports/nope"} {
		for name, tt := range map[string]struct {
			key  string
			want int
		}{
			"none": {"", http.StatusUnauthorized}, "no key": {"letmein", http.StatusUnauthorized}, "forged": {forged, http.StatusUnauthorized},
			"another scope": {control, http.StatusForbidden},
		} {
			res, body := c.page(t, path, tt.key)
			asks := strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Basic realm=")
			if res.StatusCode != tt.want || asks != (tt.want == http.StatusUnauthorized) || strings.Contains(body, "first") || tt.key != "" && strings.Contains(body, tt.key) {
				t.Errorf("%s, key %s: %s, asks for a key %v: %s", path, name, res.Status, asks, body)
			}
		}
	}
	// What a browser sends by itself opens no call.
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/speedscale.cloud.v1.ReportService/List", strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth("anyone", read)
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("a call with Basic is answered with %d: %s", w.Code, w.Body)
	}
}

// A client shows the pages, and nothing else of the cloud, with its own key.
func TestReportPagesOfAClient(t *testing.T) {
	c := start(t, server.Options{DataDir: t.TempDir()}, "")
	c.putReports(t)
	api, err := apiclient.New(apiclient.Options{URL: c.URL(), Key: c.key})
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	for path, want := range map[string]int{
		"/reports/one": http.StatusOK, "/reports/": http.StatusOK, "/reports/nope": http.StatusNotFound,
		"/metrics": http.StatusNotFound, "/speedscale.cloud.v1.KeyService/List": http.StatusNotFound,
	} {
		w := httptest.NewRecorder()
		api.Pages().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("%s is %d: %s", path, w.Code, w.Body)
		}
	}
}

package client

import (
	"net/http"
	"net/http/httputil"
	"strings"
)

// PagesPath is where the cloud's pages of reports are: the list, and below it each
// report by its id.
const PagesPath = "/reports/"

// PageURL is the address of a report's page, for people who have a key.
func PageURL(cloud, id string) string { return strings.TrimSuffix(cloud, "/") + PagesPath + id }

// Pages answers with the pages of the cloud's reports, at the paths that they have
// there, and asks for them with the client's key. Whoever may call it needs none.
func (c *Client) Pages() http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport: c.web.Transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(c.url)
			r.Out.Header.Set("Authorization", "Bearer "+c.key)
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "the cloud does not answer: "+err.Error(), http.StatusBadGateway)
		},
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+PagesPath, proxy)
	return mux
}

package api

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/speedscale/speedscale/cloud/auth"
	"github.com/speedscale/speedscale/cloud/catalog"
	"github.com/speedscale/speedscale/traffic/report"
)

// reportsPath is where the pages of reports are: the list, and each report by its id
// below it.
const reportsPath = "/reports/"

// listed bounds the reports of the list.
const listed = 200

//go:embed pages.html
var pagesHTML string

// pages are what a browser is shown. Nothing of them has a script, or is fetched from
// elsewhere.
type pages struct{ *API }

func parsePages() (*template.Template, error) {
	return template.New("").Funcs(template.FuncMap{
		"time": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	}).Parse(pagesHTML)
}

// register adds the pages to a mux. Each needs an API key with the scope read: a
// browser asks for it as the password (RFC 7617), with any user name, and other clients
// send it as to the API. Since Basic opens pages only, which change nothing, a site that
// makes a browser call the cloud gains nothing by it.
func (p pages) register(mux *http.ServeMux) {
	mux.HandleFunc("GET "+reportsPath, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		if _, err := p.o.Keyring.Check(r.Context(), keyOf(r), auth.ScopeRead); err != nil {
			p.refuse(w, err)
			return
		}
		var page bytes.Buffer
		var err error
		if id := strings.TrimPrefix(r.URL.Path, reportsPath); id != "" {
			err = p.report(r, id, &page)
		} else {
			err = p.list(r, &page)
		}
		switch {
		case errors.Is(err, catalog.ErrNotFound):
			p.problem(w, http.StatusNotFound, "No such report", fmt.Sprintf("%v. It may have been deleted, or be of another cloud; a replay has one once it has ended. %s lists those that there are.", err, reportsPath))
		case err != nil:
			p.o.Logger.Error("a page was not made", "path", r.URL.Path, "error", err)
			p.problem(w, http.StatusInternalServerError, "Not shown", "The cloud's log says why.")
		default:
			show(w, http.StatusOK, page.Bytes())
		}
	})
}

// keyOf returns the API key of a request, "" without one.
func keyOf(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(key)
}

func (p pages) refuse(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, auth.ErrDenied):
		p.problem(w, http.StatusForbidden, "Not allowed", fmt.Sprintf("%v. A browser keeps a key until all its windows are closed: a private window asks for another one.", err))
	case errors.Is(err, auth.ErrUnauthenticated):
		w.Header().Set("WWW-Authenticate", `Basic realm="speedscale: an API key as the password", charset="UTF-8"`)
		p.problem(w, http.StatusUnauthorized, "An API key is needed", fmt.Sprintf("%v. Give a key with the scope read as the password, with any user name; speedctl get report ID --web needs none.", err))
	default:
		p.o.Logger.Error("an API key was not checked", "error", err)
		p.problem(w, http.StatusInternalServerError, "Not shown", "The cloud's log says why.")
	}
}

func (p pages) report(r *http.Request, id string, page *bytes.Buffer) error {
	doc, err := p.o.Catalog.Report(r.Context(), id)
	if err != nil {
		return err
	}
	var found report.Report
	if err := json.Unmarshal(doc, &found); err != nil {
		return fmt.Errorf("report %q: %w", id, err)
	}
	return found.WriteHTML(page)
}

func (p pages) list(r *http.Request, page *bytes.Buffer) error {
	docs, err := p.o.Catalog.Reports(r.Context(), listed)
	if err != nil {
		return err
	}
	type row struct {
		report.Report
		Failed int64
	}
	rows := make([]row, len(docs))
	for i, doc := range docs {
		if err := json.Unmarshal(doc, &rows[i].Report); err != nil {
			return fmt.Errorf("summary of a report: %w", err)
		}
		rows[i].Failed = rows[i].Requests.Failed + rows[i].Requests.Errors
	}
	return p.templates.ExecuteTemplate(page, "list", rows)
}

// problem says what is wrong, and what to do about it.
func (p pages) problem(w http.ResponseWriter, code int, title, text string) {
	var page bytes.Buffer
	if err := p.templates.ExecuteTemplate(&page, "problem", struct{ Title, Text string }{title, text}); err != nil {
		http.Error(w, text, code)
		return
	}
	show(w, code, page.Bytes())
}

func show(w http.ResponseWriter, code int, page []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	w.Write(page) // fails only where the client is gone
}

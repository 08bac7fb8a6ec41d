package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Serve answers HTTP requests on a listener until the context ends, and closes it.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Checks are what Health asks, at any time and from any goroutine. Those that are
// nil have nothing to say.
type Checks struct {
	// Healthy and Ready say what is wrong.
	Healthy, Ready func() error
	// Note says what someone who looks should know although it is not wrong.
	Note func() string
}

// Health answers /healthz and /readyz: 200, "ok" and the note, or 503 and what is wrong.
func Health(c Checks) http.Handler {
	mux := http.NewServeMux()
	answer := func(check func() error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if check != nil {
				if err := check(); err != nil {
					http.Error(w, err.Error(), http.StatusServiceUnavailable)
					return
				}
			}
			text := "ok"
			if c.Note != nil {
				if note := c.Note(); note != "" {
					text += ": " + note
				}
			}
			io.WriteString(w, text+"\n")
		}
	}
	mux.Handle("GET /healthz", answer(c.Healthy))
	mux.Handle("GET /readyz", answer(c.Ready))
	return mux
}

// Metrics answers /metrics in the Prometheus formats.
func Metrics(g prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{}))
	return mux
}

// NoProxy is a http.Transport's Proxy for the API server of the agent's own cluster:
// HTTPS_PROXY is the way to the cloud.
func NoProxy(*http.Request) (*url.URL, error) { return nil, nil }

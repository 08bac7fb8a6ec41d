// Package api is the cloud's API: the services of cloud.proto, replay.proto, control.proto
// and telemetry.proto over Connect, which gRPC, gRPC-Web and plain HTTP clients speak alike.
// Each call needs an API key (Authorization: Bearer) with a scope that its service
// states, or the token of a replay, which opens what that replay needs and nothing
// else: its snapshot, the masking key of that, its events and its part of the report.
// Reports are pages, too, for a browser.
package api

import (
	"context"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/speedscale/speedscale/cloud/api/v1/cloudv1connect"
	"github.com/speedscale/speedscale/cloud/archive"
	"github.com/speedscale/speedscale/cloud/auth"
	"github.com/speedscale/speedscale/cloud/catalog"
	"github.com/speedscale/speedscale/cloud/control"
	"github.com/speedscale/speedscale/cloud/ingest"
	"github.com/speedscale/speedscale/cloud/replays"
	"github.com/speedscale/speedscale/cloud/telemetry"
)

// Options are what an API is made with.
type Options struct {
	Catalog *catalog.Catalog
	Archive *archive.Archive
	Ingest  *ingest.Ingest
	Keyring *auth.Keyring
	Replays *replays.Replays
	Control *control.Control
	// Telemetry is what the agents of clusters say of themselves.
	Telemetry *telemetry.Store
	// Snapshots is the folder of the snapshots, one folder each.
	Snapshots string
	// VanishAfter is how long a producer may be silent before a snapshot states
	// that it vanished; 0 means 5 minutes.
	VanishAfter time.Duration
	// Revoked is told when a key was revoked, so that its connections end.
	Revoked func(keyID string)
	// MaxUpload bounds an uploaded snapshot, in bytes; 0 means 16 GiB.
	MaxUpload int64
	Logger    *slog.Logger
}

// API answers the services. It is safe for concurrent use.
type API struct {
	o Options
	// building bounds the snapshots that are made or uploaded at a time.
	building chan struct{}
	// pages are made from these.
	templates *template.Template
}

const (
	// maxMessage bounds a request's message, in bytes, maxReport a report or a part of
	// one, and maxEvents the events of one call, which have their own bound within.
	maxMessage = 4 << 20
	maxReport  = 64 << 20
	maxEvents  = 2 << 20
	// maxBuilding is how many snapshots are made or uploaded at a time.
	maxBuilding = 4
)

// New returns the API. It puts the folder of snapshots in step with the catalog,
// which an interrupted program can leave behind.
func New(ctx context.Context, o Options) (*API, error) {
	if o.VanishAfter == 0 {
		o.VanishAfter = 5 * time.Minute
	}
	if o.MaxUpload == 0 {
		o.MaxUpload = 16 << 30
	}
	a := &API{o: o, building: make(chan struct{}, maxBuilding)}
	if err := a.recoverSnapshots(ctx); err != nil {
		return nil, err
	}
	if err := a.initMasking(ctx); err != nil {
		return nil, err
	}
	var err error
	if a.templates, err = parsePages(); err != nil {
		return nil, err
	}
	return a, nil
}

// Register adds the services and the pages to a mux.
func (a *API) Register(mux *http.ServeMux) {
	pages{a}.register(mux)
	g := guard{keys: a.o.Keyring, refuse: connect.NewErrorWriter()}
	opts := func(limit int) connect.HandlerOption {
		return connect.WithHandlerOptions(
			connect.WithInterceptors(coded{}),
			connect.WithReadMaxBytes(limit),
			// A panic in a handler is an error of one call.
			connect.WithRecover(func(_ context.Context, s connect.Spec, _ http.Header, r any) error {
				a.o.Logger.Error("an API call panicked", "procedure", s.Procedure, "panic", r)
				return connect.NewError(connect.CodeInternal, errPanic)
			}),
		)
	}
	handle := func(path string, h http.Handler) { mux.Handle(path, g.handler(h)) }
	handle(cloudv1connect.NewTrafficServiceHandler(trafficService{a}, opts(maxMessage)))
	handle(cloudv1connect.NewSnapshotServiceHandler(snapshotService{a}, opts(maxMessage)))
	handle(cloudv1connect.NewReportServiceHandler(reportService{a}, opts(maxReport)))
	handle(cloudv1connect.NewKeyServiceHandler(keyService{a}, opts(maxMessage)))
	handle(cloudv1connect.NewMaskingServiceHandler(maskingService{a}, opts(maxMessage)))
	handle(cloudv1connect.NewTestConfigServiceHandler(testConfigService{a}, opts(maxMessage)))
	handle(cloudv1connect.NewControlServiceHandler(controlService{a}, opts(maxMessage)))
	handle(cloudv1connect.NewTelemetryServiceHandler(telemetryService{a}, opts(maxMessage)))
	handle(cloudv1connect.NewReplayServiceHandler(replayService{a}, opts(maxMessage),
		connect.WithConditionalHandlerOptions(func(s connect.Spec) []connect.HandlerOption {
			switch s.Procedure {
			case cloudv1connect.ReplayServicePutPartProcedure:
				return []connect.HandlerOption{connect.WithReadMaxBytes(maxReport)}
			case cloudv1connect.ReplayServicePublishProcedure:
				return []connect.HandlerOption{connect.WithReadMaxBytes(maxEvents)}
			}
			return nil
		})))
}

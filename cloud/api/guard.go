package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"syscall"

	"connectrpc.com/connect"

	"github.com/speedscale/speedscale/cloud/api/v1/cloudv1connect"
	"github.com/speedscale/speedscale/cloud/auth"
	"github.com/speedscale/speedscale/cloud/catalog"
	"github.com/speedscale/speedscale/cloud/replays"
)

// scopesOf returns the scopes of which a procedure needs one; none for a
// procedure that is not listed, which nobody may call then.
func scopesOf(procedure string) []string {
	switch procedure {
	case cloudv1connect.TrafficServiceSearchProcedure,
		cloudv1connect.TrafficServiceIngestProcedure,
		cloudv1connect.SnapshotServiceListProcedure,
		cloudv1connect.TelemetryServiceClustersProcedure,
		cloudv1connect.TelemetryServiceAgentsProcedure,
		cloudv1connect.ReportServiceGetProcedure,
		cloudv1connect.ReportServiceListProcedure:
		return []string{auth.ScopeRead}
	case cloudv1connect.SnapshotServiceDownloadProcedure:
		return []string{auth.ScopeRead, auth.ScopeReplay}
	case cloudv1connect.SnapshotServiceGetProcedure:
		// ReplayService.Start shows the same to those who have control.
		return []string{auth.ScopeRead, auth.ScopeControl, auth.ScopeReplay}
	case cloudv1connect.SnapshotServiceCreateProcedure,
		cloudv1connect.SnapshotServiceDeleteProcedure,
		cloudv1connect.SnapshotServiceUploadProcedure,
		cloudv1connect.KeyServiceCreateProcedure,
		cloudv1connect.KeyServiceListProcedure,
		cloudv1connect.KeyServiceRevokeProcedure,
		cloudv1connect.MaskingServicePutProcedure,
		cloudv1connect.TestConfigServicePutProcedure,
		cloudv1connect.TestConfigServiceDeleteProcedure,
		cloudv1connect.ControlServiceClustersProcedure,
		cloudv1connect.ControlServiceRunProcedure,
		cloudv1connect.ControlServiceAuditProcedure:
		return []string{auth.ScopeAdmin}
	case cloudv1connect.ReportServicePutProcedure,
		cloudv1connect.ReplayServiceStartProcedure,
		cloudv1connect.ReplayServiceEndProcedure:
		return []string{auth.ScopeControl}
	case cloudv1connect.ReplayServicePublishProcedure,
		cloudv1connect.ReplayServicePutPartProcedure:
		return []string{auth.ScopeControl, auth.ScopeReplay}
	case cloudv1connect.ReplayServiceWatchProcedure,
		cloudv1connect.TestConfigServiceGetProcedure,
		cloudv1connect.TestConfigServiceListProcedure:
		return []string{auth.ScopeRead, auth.ScopeControl}
	case cloudv1connect.MaskingServiceGetProcedure:
		return []string{auth.ScopeIngest, auth.ScopeControl, auth.ScopeReplay}
	}
	return nil
}

// guard checks the API key of each call, before anything of its body is read. What a
// call asks for with a replay's token, the service looks at (ofToken).
type guard struct {
	keys   *auth.Keyring
	refuse *connect.ErrorWriter
}

func (g guard) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if scopesOf(r.URL.Path) == nil {
			http.NotFound(w, r) // no call, or one that was forgotten in scopesOf: nobody may
			return
		}
		key, err := g.check(r.Context(), r.URL.Path, r.Header.Get("Authorization"))
		if err == nil {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, key)))
			return
		}
		if !g.refuse.IsSupported(r) {
			http.Error(w, "not authenticated", http.StatusUnauthorized)
			return
		}
		g.refuse.Write(w, r, err) // fails only where the client is gone
	})
}

// check takes the path of a call, which is its procedure.
func (g guard) check(ctx context.Context, procedure, header string) (catalog.Key, error) {
	scheme, key, _ := strings.Cut(header, " ")
	if header != "" && !strings.EqualFold(scheme, "Bearer") {
		return catalog.Key{}, connect.NewError(connect.CodeUnauthenticated, errors.New(`the Authorization header is not "Bearer <API key>"`))
	}
	entry, err := g.keys.Check(ctx, strings.TrimSpace(key), scopesOf(procedure)...)
	return entry, status(err)
}

// callerKey is what a call's context has the caller's key under.
type callerKey struct{}

// ofToken returns the replay whose token a call was made with; ok is false where it
// was made with another key.
func ofToken(ctx context.Context) (replay string, ok bool) {
	key, _ := ctx.Value(callerKey{}).(catalog.Key)
	return key.Replay, key.Replay != ""
}

// denied refuses what a replay's token does not open, without saying whether it is
// there.
func denied(replay, what string) error {
	return connect.NewError(connect.CodePermissionDenied, fmt.Errorf("the token of replay %q does not open %s", replay, what))
}

// coded gives the errors of calls their codes.
type coded struct{}

var _ connect.Interceptor = coded{}

// WrapUnary implements connect.Interceptor.
func (coded) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := next(ctx, r)
		return res, status(err)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (coded) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (coded) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, c connect.StreamingHandlerConn) error {
		return status(next(ctx, c))
	}
}

var errPanic = errors.New("internal error: the cloud's log says more")

// status gives an error the code that tells a client what to do about it.
func status(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*connect.Error](err); ok {
		return err
	}
	code := connect.CodeInternal
	switch {
	case errors.Is(err, context.Canceled):
		code = connect.CodeCanceled
	case errors.Is(err, context.DeadlineExceeded):
		code = connect.CodeDeadlineExceeded
	case errors.Is(err, auth.ErrUnauthenticated):
		code = connect.CodeUnauthenticated
	case errors.Is(err, auth.ErrDenied):
		code = connect.CodePermissionDenied
	case errors.Is(err, catalog.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		code = connect.CodeNotFound
	case errors.Is(err, catalog.ErrExists), errors.Is(err, fs.ErrExist):
		code = connect.CodeAlreadyExists
	case errors.Is(err, catalog.ErrEnded):
		code = connect.CodeFailedPrecondition
	case errors.Is(err, replays.ErrInvalid):
		code = connect.CodeInvalidArgument
	case errors.Is(err, replays.ErrUnavailable):
		code = connect.CodeUnavailable
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, catalog.ErrFull):
		code = connect.CodeResourceExhausted
	}
	return connect.NewError(code, err)
}

func invalid(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

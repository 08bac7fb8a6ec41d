package generator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/speedscale/speedscale/agents/http1"
)

// Classes of errors: why there was no response.
const (
	ErrorCanceled  = "canceled"
	ErrorTimeout   = "timeout"
	ErrorRefused   = "refused"
	ErrorReset     = "reset"
	ErrorClosed    = "closed"
	ErrorName      = "name_not_resolved"
	ErrorTLS       = "tls"
	ErrorMalformed = "malformed_response"
	ErrorOther     = "other"
)

// classify names what kind of error it is.
func classify(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return ErrorCanceled
	}
	var (
		dns     *net.DNSError
		alert   tls.AlertError
		record  tls.RecordHeaderError
		verify  *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		proto   *http1.ProtocolError
		timeout interface{ Timeout() bool }
	)
	switch {
	case errors.As(err, &dns):
		return ErrorName
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return ErrorTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return ErrorRefused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ErrorReset
	case errors.As(err, &alert), errors.As(err, &record), errors.As(err, &verify), errors.As(err, &unknown), errors.As(err, &name):
		return ErrorTLS
	case errors.As(err, &proto):
		return ErrorMalformed
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return ErrorClosed
	}
	return ErrorOther
}

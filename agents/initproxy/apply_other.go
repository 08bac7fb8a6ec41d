//go:build !linux

package initproxy

import "errors"

var errUnsupported = errors.New("connections are redirected on linux only: use proxy-type reverse, forward or dual")

// Apply is for Linux.
func Apply(Settings) error { return errUnsupported }

// Remove is for Linux.
func Remove() error { return errUnsupported }

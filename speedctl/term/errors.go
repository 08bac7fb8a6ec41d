package term

import "errors"

// Exit codes. They are documented in docs/reference/exit-codes.md, which is
// made of these comments, and never change meaning.
const (
	// ExitOK: it worked; of replay, wait and get report --fail: the replay passed.
	ExitOK = 0
	// ExitError: something went wrong on the way; the error says what. Of check: a check
	// failed, also when the time of --wait is over (warnings and skipped checks do not fail
	// it); of inject: pods did not become ready, or start without the sidecar.
	ExitError = 1
	// ExitUsage: the command line, a file or a name given on it is wrong.
	ExitUsage = 2
	// ExitMissedGoals: the replay ran to its end and missed a goal.
	ExitMissedGoals = 3
	// ExitNotFound: what was asked for does not exist: a snapshot, a workload, a cloud in
	// the cluster.
	ExitNotFound = 4
	// ExitDenied: the API key is missing, wrong or has too small a scope, or the cluster
	// denies it.
	ExitDenied = 5
	// ExitCanceled: interrupted, not confirmed, or of a replay: cancelled.
	ExitCanceled = 130
)

type codedError struct {
	err  error
	code int
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// WithCode gives err an exit code. An error that has one keeps it.
func WithCode(err error, code int) error {
	if _, has := errors.AsType[*codedError](err); err == nil || has {
		return err
	}
	return &codedError{err: err, code: code}
}

// CodeOf returns the exit code of err: 0 for nil, ExitError when none was given.
func CodeOf(err error) int {
	if err == nil {
		return ExitOK
	}
	if e, ok := errors.AsType[*codedError](err); ok {
		return e.code
	}
	return ExitError
}

type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }

// WithHint adds what the user can do about err. It is printed on a line of its own.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &hintedError{err: err, hint: hint}
}

func hintOf(err error) string {
	if e, ok := errors.AsType[*hintedError](err); ok {
		return e.hint
	}
	return ""
}

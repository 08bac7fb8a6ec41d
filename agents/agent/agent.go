// Package agent is what the binaries of all agents start with: signals, log,
// settings from the environment, memory limit, health and metrics.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
)

// Exit codes of an agent.
const (
	ExitOK       = 0
	ExitError    = 1 // it ran and failed
	ExitSettings = 2 // it did not start, because of its settings
)

// Env is the world outside of an agent.
type Env struct {
	// Name is the agent's, as in its log.
	Name string
	// Args are the arguments of the command line, without the program.
	Args []string
	// Vars are its settings.
	Vars *Vars
	// Log is where it talks: JSON lines on standard error at LOG_LEVEL.
	Log *slog.Logger
}

// Main runs an agent in this process until it ends by itself or SIGTERM or
// SIGINT cancels its context; a second signal ends the process at once. It
// returns the exit code.
func Main(name string, run func(context.Context, *Env) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // the next signal has its default action
	vars := NewVars(os.Getenv)
	level := Level(vars)
	env := &Env{Name: name, Args: os.Args[1:], Vars: vars, Log: Logger(os.Stderr, name, level)}
	return exitCode(env.Log, run(ctx, env))
}

func exitCode(log *slog.Logger, err error) int {
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return ExitOK
	default:
		log.Error("ended", "error", err)
		if _, ok := errors.AsType[*SettingsError](err); ok {
			return ExitSettings
		}
		return ExitError
	}
}

// Level reads LOG_LEVEL: debug, info (the default), warn or error.
func Level(v *Vars) slog.Level {
	switch s := strings.ToLower(v.String("LOG_LEVEL", "info")); s {
	case "debug", "trace":
		return slog.LevelDebug
	case "info":
		return slog.LevelInfo
	case "warn", "warning":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	default:
		v.Fail("LOG_LEVEL", s, "want debug, info, warn or error")
		return slog.LevelInfo
	}
}

// Logger writes JSON lines that name the agent.
func Logger(w io.Writer, name string, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})).With("agent", name)
}

// LimitMemory makes the garbage collector keep the process within a budget for
// what the agent holds and a base for everything else, both in bytes. A
// GOMEMLIMIT in the environment comes first.
func LimitMemory(v *Vars, budget, base int64) {
	if v.String("GOMEMLIMIT", "") == "" {
		debug.SetMemoryLimit(budget + base)
	}
}

// SettingsError says which settings of an agent are wrong.
type SettingsError struct{ Problems []string }

// Error names each variable with what is wrong with it.
func (e *SettingsError) Error() string {
	return fmt.Sprintf("settings: %s", strings.Join(e.Problems, "; "))
}

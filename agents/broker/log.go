package broker

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// serverLog hands what nats-server logs to slog. Debug and trace are off in the
// server: a trace line would hold the CONNECT line with its token.
type serverLog struct {
	log *slog.Logger

	mu   sync.Mutex
	died string // what nats-server would have ended the process for
}

func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLog) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l *serverLog) Debugf(string, ...any)           {}
func (l *serverLog) Tracef(string, ...any)           {}

// Warnf passes warnings on, but for the one about a web socket without TLS, which
// is how it is meant where TLS ends before the server (Options.WebSocketTLS).
func (l *serverLog) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Websocket not configured with TLS") {
		l.log.Debug(fmt.Sprintf(format, v...))
		return
	}
	l.log.Warn(fmt.Sprintf(format, v...))
}

func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.died = fmt.Sprintf(format, v...)
}

func (l *serverLog) fatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.died
}

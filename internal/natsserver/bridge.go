package natsserver

import (
	"fmt"
	"strings"
	"sync"

	"github.com/rs/zerolog"
)

// bridge hands what the server logs to zerolog, one level lower than the server
// has it: its notices are of no interest to who runs extsync.
type bridge struct {
	logger zerolog.Logger

	mu         sync.Mutex
	firstFatal string
}

func newBridge(l zerolog.Logger) *bridge {
	return &bridge{logger: l.With().Str("component", "nats-server").Logger()}
}

func (b *bridge) Noticef(format string, v ...any) { b.log(b.logger.Debug(), format, v) }
func (b *bridge) Warnf(format string, v ...any)   { b.log(b.logger.Warn(), format, v) }
func (b *bridge) Errorf(format string, v ...any)  { b.log(b.logger.Error(), format, v) }
func (b *bridge) Debugf(format string, v ...any)  { b.log(b.logger.Trace(), format, v) }
func (b *bridge) Tracef(format string, v ...any)  { b.log(b.logger.Trace(), format, v) }

// Fatalf notes the message for Start and does not end the process, which is not
// the server's to end.
func (b *bridge) Fatalf(format string, v ...any) {
	b.mu.Lock()
	if b.firstFatal == "" {
		b.firstFatal = fmt.Sprintf(format, v...)
	}
	b.mu.Unlock()
	b.log(b.logger.Error(), format, v)
}

// fatal returns the first message given to Fatalf, "" if there was none.
func (b *bridge) fatal() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.firstFatal
}

func (b *bridge) log(e *zerolog.Event, format string, v []any) {
	if e.Enabled() {
		e.Msg(strings.TrimSpace(fmt.Sprintf(format, v...)))
	}
}

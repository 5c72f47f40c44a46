package local

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/relay"
	"github.com/hms-utl/extsync/pkg/outbox"
)

// OpenPlatform opens the database of a platform, a SQLite file. It makes the file, and in it
// an outbox, unless they are there. The caller closes it.
func OpenPlatform(ctx context.Context, file string) (*sql.DB, error) {
	options := url.Values{"_txlock": {"immediate"}, "_pragma": {"busy_timeout(5000)", "journal_mode(WAL)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: file}).EscapedPath()+"?"+options.Encode())
	if err != nil {
		return nil, fmt.Errorf("outbox %s: %w", file, err)
	}
	ddl, err := outbox.DDL(outbox.SQLite)
	if err == nil {
		_, err = db.ExecContext(ctx, ddl)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("outbox %s: %w", file, err), db.Close())
	}
	return db, nil
}

// RelayOutbox relays the outbox of a SQLite file, which it makes unless it is there, until
// the caller stops it, before the stack is closed.
func (s *Stack) RelayOutbox(ctx context.Context, file string) (*Task, error) {
	platform, err := OpenPlatform(ctx, file)
	if err != nil {
		return nil, err
	}
	if err := platform.Close(); err != nil {
		return nil, fmt.Errorf("outbox %s: %w", file, err)
	}
	db, err := relay.Open(outbox.SQLite, file, 1)
	if err != nil {
		return nil, err
	}
	cfg := s.o.Config
	cfg.Telemetry.Listen, cfg.Telemetry.Pprof = "", "" // the worker has them
	return begin(ctx, func(ctx context.Context) error {
		return errors.Join(app.Relay(ctx, s.Client, db, app.RelayOptions{Config: cfg, Logger: s.o.Logger}), db.Close())
	}), nil
}

package compare

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/outbox"
)

// relays writes the updates into an outbox, and returns what relays them.
func (p publishing) relays(ctx context.Context, dsn string) (func(context.Context, jetstream.JetStream) error, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }() // all is committed
	ddl, err := outbox.DDL(outbox.Postgres)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, ddl); err != nil {
		return nil, err
	}
	var rows [][]any
	err = p.load().each("", func(u events.Update) error {
		rows = append(rows, []any{u.Channel, u.Key, u.Version.String(), u.Payload})
		return nil
	})
	if err != nil {
		return nil, err
	}
	_, err = conn.CopyFrom(ctx, pgx.Identifier{"extsync_outbox"}, []string{"target", "key", "version", "payload"}, pgx.CopyFromRows(rows))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, js jetstream.JetStream) error { return p.relay(ctx, js, dsn) }, nil
}

// relay runs what publisher relay does until the broker has all updates.
func (p publishing) relay(ctx context.Context, js jetstream.JetStream, dsn string) error {
	cfg := config.Default()
	cfg.NATS.URL = js.Conn().ConnectedUrl()
	cfg.Relay.Dialect, cfg.Relay.DSN = string(outbox.Postgres), dsn
	relaying, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- app.RunRelay(relaying, app.RelayOptions{Config: cfg, Logger: quiet()}) }()
	for {
		stream, err := js.Stream(ctx, wire.UpdateStream(events.DefaultNames(), events.ToChannel(p.load().channel)))
		if err != nil {
			return err
		}
		if stream.CachedInfo().State.LastSeq >= uint64(p.Updates) { //nolint:gosec // a count
			stop()
			return <-done
		}
		select {
		case err := <-done:
			return errors.Join(errWrong, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

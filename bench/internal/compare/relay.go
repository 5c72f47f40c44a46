package compare

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/relay"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/outbox"
	"github.com/hms-utl/extsync/pkg/publish"
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

// relay relays until the outbox is empty.
func (p publishing) relay(ctx context.Context, js jetstream.JetStream, dsn string) error {
	const claims = 4 // the default of publisher relay
	db, err := relay.Open(outbox.Postgres, dsn, claims)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // nothing is under way
	pub, err := publish.New(ctx, js, events.DefaultNames())
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	counted := &counter{left: p.Updates, stop: stop}
	err = relay.New(relay.Options{
		DB: db, Publisher: pub, MaxPayload: js.Conn().MaxPayload, Poll: 250 * time.Millisecond, Claims: claims,
		Logger: quiet(), Observer: counted,
	}).Run(ctx)
	if err != nil {
		return err
	}
	return emptied(context.WithoutCancel(ctx), db.DB)
}

func emptied(ctx context.Context, db *sql.DB) error {
	var left int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM extsync_outbox").Scan(&left); err != nil {
		return err
	}
	if left != 0 {
		return fmt.Errorf("%w: %d rows are left in the outbox", errWrong, left)
	}
	return nil
}

// A counter ends the relay when all rows are published.
type counter struct {
	mu   sync.Mutex
	left int
	stop func()
}

func (c *counter) Relayed(_ string, what relay.Result, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if what == relay.Published {
		c.left -= n
	}
	if c.left <= 0 {
		c.stop()
	}
}

func (c *counter) Held(string, error) {}

func (c *counter) Stands(map[string]relay.Standing) {}

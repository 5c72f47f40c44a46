package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
)

// Listening connections are looked after.
const (
	wakeChannel = "extsync_outbox"
	// echoFor is how long the relay waits for its own notification to come back.
	echoFor = 5 * time.Second
)

var errNoEcho = errors.New("notifications do not come through, as through a pooler that gives each transaction another connection")

// Listen sends to wake when PostgreSQL says that rows were committed, until ctx ends. Other
// databases cannot say so. It is a help and no more: whoever hears nothing finds the rows
// when he looks next.
func (d *Database) Listen(ctx context.Context, wake chan<- struct{}, log zerolog.Logger) {
	if d.postgres == nil {
		return
	}
	again := backoff.NewExponentialBackOff(backoff.WithInitialInterval(time.Second), backoff.WithMaxInterval(time.Minute), backoff.WithMaxElapsedTime(0))
	said := false
	for ctx.Err() == nil {
		err := d.listen(ctx, wake, func() {
			again.Reset()
			said = false
		})
		if ctx.Err() != nil || errors.Is(err, errNoEcho) {
			if err != nil && ctx.Err() == nil {
				log.Info().Err(err).Msg("the outbox is looked at by the clock alone")
			}
			return
		}
		if !said {
			log.Warn().Err(err).Msg("no notifications from the database; the outbox is looked at by the clock")
			said = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(again.NextBackOff()):
		}
	}
}

func (d *Database) listen(ctx context.Context, wake chan<- struct{}, works func()) error {
	conn, err := pgx.ConnectConfig(ctx, d.postgres.Copy())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing is lost with it
	if _, err := conn.Exec(ctx, "LISTEN "+wakeChannel); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if _, err := d.ExecContext(ctx, "SELECT pg_notify($1, '')", wakeChannel); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	echo, cancel := context.WithTimeout(ctx, echoFor)
	_, err = conn.WaitForNotification(echo)
	late := errors.Is(echo.Err(), context.DeadlineExceeded)
	cancel()
	if err != nil && late {
		return errNoEcho
	}
	for ; err == nil; _, err = conn.WaitForNotification(ctx) {
		works()
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	return fmt.Errorf("wait for notifications: %w", err)
}

package extsync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/pkg/channels"
)

// ErrNoKinds says that the client does not know what channels may be.
var ErrNoKinds = errors.New("the client knows no connector kinds")

const (
	// registerTries bounds how often Register meets a channel that somebody else has just
	// changed.
	registerTries = 5
	registerWait  = 50 * time.Millisecond
)

// HTTP returns a channel that sends each update to a URL.
func HTTP(name, url string) Channel {
	return Channel{Name: name, Connector: channels.Connector{Kind: "http", Config: channels.NewRaw(map[string]any{"url": url})}}
}

// SQL returns a channel that keeps the newest payload of each key in a table, which is
// made if it is missing. dialect is postgres, mysql or sqlite, and dsn says where the
// database is; a password in it must be a reference, such as ${env:PASSWORD}.
func SQL(name, dialect, dsn string) Channel {
	return Channel{Name: name, Connector: channels.Connector{Kind: "sql", Config: channels.NewRaw(map[string]any{
		"dialect": dialect, "dsn": dsn, "auto_create": true,
	})}}
}

// Register makes a channel, or brings the one of its name to this configuration: it
// is for a program to say at each start. Whoever may register decides what workers
// connect to, so a service that only pushes needs no permission for it. The errors:
// ErrNoKinds without WithKinds, connectors.ErrConfig, which names every bad field,
// channels.ErrImmutable for what cannot be changed, ErrChannelDeleted, and
// ErrUnavailable.
func (c *Client) Register(ctx context.Context, channel Channel) error {
	if c.catalog == nil {
		return fmt.Errorf("%w: connect with WithKinds(kinds.All()) to register channels", ErrNoKinds)
	}
	return c.call(ctx, func(ctx context.Context) error {
		registry, err := channels.OpenRegistry(ctx, c.js, c.names, c.catalog)
		if err != nil {
			return err
		}
		for try := 1; ; try++ {
			err := register(ctx, registry, channel)
			if !errors.Is(err, channels.ErrRevision) || try == registerTries || !sleep.For(ctx, registerWait) {
				return err
			}
		}
	})
}

func register(ctx context.Context, registry *channels.Registry, channel Channel) error {
	entry, err := registry.Get(ctx, channel.Name)
	if err != nil && !errors.Is(err, channels.ErrNotFound) {
		return err
	}
	_, err = registry.Put(ctx, channel, entry.Revision)
	return err
}

package operate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// ErrNotReadable says that a channel's connector cannot tell what the target
// holds.
var ErrNotReadable = errors.New("the target cannot be read")

// OpenTarget opens a channel's connector in this process, which needs the way to its
// target, and the channel's secrets among what its own settings allow. The caller calls
// done.
func (c *Client) OpenTarget(ctx context.Context, cfg channels.Config) (target *connectors.Opened, done func(), err error) {
	return c.openTarget(ctx, cfg, nil)
}

// openTarget does so, and passes on the lines for people that the connector notes.
func (c *Client) openTarget(ctx context.Context, cfg channels.Config, note func(line string)) (target *connectors.Opened, done func(), err error) {
	kind, err := c.Catalog.Kind(cfg.Connector.Kind)
	if err != nil {
		return nil, nil, err
	}
	env := c.host.Env(cfg.Name)
	env.Concurrency, env.Timeout, env.Log = 2, cfg.Timeout.D(), note
	target, err = connectors.Open(ctx, kind, env, cfg.Connector.Config)
	if err != nil {
		return nil, nil, fmt.Errorf("open the target of channel %s: %w", cfg.Name, err)
	}
	return target, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = target.Close(ctx) // it was only read from
	}, nil
}

// Env returns what a channel's connector is opened with in this process.
func Env(cfg *config.Config, channel string) connectors.Env { return Host(cfg).Env(channel) }

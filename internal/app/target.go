package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// ErrNotReadable says that a channel's connector cannot tell what the target
// holds.
var ErrNotReadable = errors.New("the target cannot be read")

// OpenTarget opens a channel's connector in this process, which needs the
// channel's secrets and the way to its target. The caller calls done.
func (c *Client) OpenTarget(ctx context.Context, cfg channels.Config) (target connectors.Connector, done func(), err error) {
	kind, err := c.Catalog.Kind(cfg.Connector.Kind)
	if err != nil {
		return nil, nil, err
	}
	env := connectors.Env{Channel: cfg.Name, Concurrency: 2, Timeout: cfg.Timeout.D(), Logger: zerolog.Nop()}
	target, err = kind.Open(ctx, env, cfg.Connector.Config)
	if err != nil {
		return nil, nil, fmt.Errorf("open the target of channel %s: %w", cfg.Name, err)
	}
	return target, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = target.Close(ctx) // it was only read from
	}, nil
}

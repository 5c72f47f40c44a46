package operate

import (
	"context"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/wire"
)

// A Recovery is what a new incarnation concerns.
type Recovery struct {
	// Before is the incarnation that was there, After the new one; zero before it is
	// made.
	Before wire.Incarnation `json:"before"`
	After  wire.Incarnation `json:"after,omitzero"`
	// Channels that are not deleted, and Partitions of all of them: they begin at 0.
	Channels   []string `json:"channels"`
	Partitions int      `json:"partitions"`
}

// PlanRecovery says what Recover would do.
func (c *Client) PlanRecovery(ctx context.Context) (Recovery, error) {
	r := Recovery{Channels: []string{}}
	var err error
	if r.Before, err = wire.ReadIncarnation(ctx, c.JS, c.Names); err != nil {
		return r, err
	}
	registry, err := c.Registry(ctx)
	if err != nil {
		return r, err
	}
	entries, err := registry.List(ctx)
	if err != nil {
		return r, err
	}
	for _, e := range entries {
		if e.Deleted.IsZero() {
			r.Channels = append(r.Channels, e.Config.Name)
			r.Partitions += e.Config.Partitions
		}
	}
	return r, nil
}

// Recover gives the installation a new incarnation and records that in the audit
// log. It is one write: it is done as a whole or not at all, and deletes nothing.
// Workers and publishers that were started before stop.
func (c *Client) Recover(ctx context.Context) (Recovery, error) {
	r, err := c.PlanRecovery(ctx)
	if err != nil {
		return r, err
	}
	act := auditlog.Act{Action: "recover", Target: "installation", Before: map[string]any{"incarnation": r.Before}}
	err = c.Act(ctx, act, func(ctx context.Context) (any, error) {
		var err error
		r.Before, r.After, err = wire.RenewIncarnation(ctx, c.JS, c.Names)
		return map[string]any{"incarnation": r.After}, err
	})
	return r, err
}

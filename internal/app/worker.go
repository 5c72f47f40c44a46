package app

import (
	"context"
	"runtime"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery"
)

// heapHeadroom is by how much the heap of a worker may grow, besides what it does by
// itself, before the next garbage collection.
const heapHeadroom = 16 << 20

// WorkerOptions say how to run a connector-worker.
type WorkerOptions struct {
	Config  config.Config
	Secrets connectors.Secrets // zero: the environment and files of this process
	Logger  zerolog.Logger
}

// RunWorker is the connector-worker: it connects and delivers until ctx ends,
// then finishes what is in flight and returns nil. A broker that is not there at
// the start is an error, so that a wrong address is seen at once; one that goes
// away later is waited for.
func RunWorker(ctx context.Context, o WorkerOptions) error {
	// A collection begins when the heap is twice as large as what the last one left
	// of it. A worker needs little memory, so that would be many times a second. This
	// counts as heap, but as nothing is ever written there it takes no memory.
	headroom := make([]byte, heapHeadroom)
	defer runtime.KeepAlive(headroom)
	return withClient(ctx, o.Config, o.Logger, func(c *Client) error { return c.Deliver(ctx, o) })
}

// Deliver runs a worker on the client's connection, as RunWorker does.
func (c *Client) Deliver(ctx context.Context, o WorkerOptions) error {
	t, err := newWorkerTelemetry(ctx, o.Config, o.Logger)
	if err != nil {
		return err
	}
	defer t.close(ctx)
	options := delivery.Options{
		JS:           c.JS,
		Names:        c.Names,
		Catalog:      c.Catalog,
		Secrets:      o.Secrets,
		Logger:       o.Logger,
		LeaseTTL:     o.Config.Worker.LeaseTTL.D(),
		DrainTimeout: o.Config.Worker.DrainTimeout.D(),
	}
	t.apply(&options)
	w, err := delivery.New(options)
	if err != nil {
		return err
	}
	if err := t.start(ctx, c, w); err != nil {
		return err
	}
	return w.Run(ctx)
}

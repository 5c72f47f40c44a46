package app

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/delivery"
)

// The heap of a worker may grow by heapGrowth percent of what the last garbage
// collection left and of heapHeadroom before the next one. It leaves more where the
// backlog is long, and with a percentage of 100 each MiB of that would cost two; with 50
// 100 busy channels, which leave more, would be collected too often.
const (
	heapGrowth   = 60
	heapHeadroom = 38 << 20
)

// WorkerOptions say how to run a connector-worker.
type WorkerOptions struct {
	Config config.Config
	Logger zerolog.Logger
}

// RunWorker is the connector-worker: it connects and delivers until ctx ends,
// then finishes what is in flight and returns nil. It waits for a broker that is
// not there, at the start as later, and says so; one that refuses the worker at the
// start is an error.
func RunWorker(ctx context.Context, o WorkerOptions) error {
	defer relaxCollector()()
	return withClient(ctx, o.Config, o.Logger, connectOrWait, func(c *operate.Client) error { return Deliver(ctx, c, o) })
}

// relaxCollector lets garbage lie until it is worth a collection, unless GOGC says
// how long, and returns how to end that. By itself a worker would be collected many
// times a second, as it needs little memory. The headroom counts as heap, but as
// nothing is ever written there it takes no memory.
func relaxCollector() (end func()) {
	if _, set := os.LookupEnv("GOGC"); set {
		return func() {}
	}
	before := debug.SetGCPercent(heapGrowth)
	headroom := make([]byte, heapHeadroom)
	return func() {
		runtime.KeepAlive(headroom)
		debug.SetGCPercent(before)
	}
}

// Deliver runs a worker on a client's connection, as RunWorker does.
func Deliver(ctx context.Context, c *operate.Client, o WorkerOptions) error {
	t, err := newWorkerTelemetry(ctx, o.Config, o.Logger)
	if err != nil {
		return err
	}
	defer t.close(ctx)
	options := delivery.Options{
		JS:           c.JS,
		Names:        c.Names,
		Catalog:      c.Catalog,
		Host:         operate.Host(&o.Config),
		Logger:       o.Logger,
		LeaseTTL:     o.Config.Worker.LeaseTTL.D(),
		DrainTimeout: o.Config.Worker.DrainTimeout.D(),
		StallAfter:   o.Config.Worker.StallAfter.D(),
		Refused:      c.Refused,
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

// Package local runs everything in one process: an embedded broker with its data
// in a directory, a connector-worker, and a receiver to deliver to. It is what
// 'extsync dev', 'extsync demo' and the examples stand on.
package local

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/natsserver"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// Options say how to run a Stack.
type Options struct {
	// Dir holds the broker's data. It is made if it does not exist. Required.
	Dir string
	// Config gives prefix, storage and worker; its NATS part is not used. Zero:
	// config.Default.
	Config config.Config
	// Databases is a directory in which channels may keep databases, besides those that
	// Config allows. Zero: none. The channels may reach loopback, too: all of it is one
	// person's machine.
	Databases string
	// Listen is the broker's address for other processes, on loopback. Zero: no
	// listener.
	Listen string
	Logger zerolog.Logger // zero: silent
}

// A Stack is an embedded broker, provisioned, a client of it, and a worker.
type Stack struct {
	*operate.Client

	o      Options
	server *natsserver.Server
	worker *Task
}

// Start starts a stack. Its errors wrap app.ErrEmbedded where the broker is the
// reason. The caller closes the stack; it does not depend on ctx once started.
func Start(ctx context.Context, o Options) (*Stack, error) {
	if reflect.DeepEqual(o.Config, config.Config{}) {
		o.Config = config.Default()
	}
	o.Config.Allow.Networks = append(slices.Clone(o.Config.Allow.Networks), "127.0.0.0/8", "::1/128")
	if o.Databases != "" {
		o.Config.Allow.Databases = append(slices.Clone(o.Config.Allow.Databases), o.Databases)
	}
	server, err := natsserver.Start(ctx, natsserver.Options{
		StoreDir:   o.Dir,
		Durability: natsserver.Durability(o.Config.Storage.Durability),
		Listen:     o.Listen,
		MaxStore:   int64(o.Config.Storage.MaxStore),
		Logger:     o.Logger,
	})
	switch {
	case errors.Is(err, natsserver.ErrOptions):
		return nil, fmt.Errorf("%w: %w", connectors.ErrConfig, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", app.ErrEmbedded, err)
	}
	s := &Stack{o: o, server: server}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, server.Shutdown())
	}
	return s, nil
}

func (s *Stack) start(ctx context.Context) error {
	client, err := operate.Connect(ctx, s.o.Config, s.o.Logger, s.server.InProcess())
	if err != nil {
		return err
	}
	if err := client.Provision(ctx); err != nil {
		client.Close()
		return err
	}
	s.Client = client
	s.worker = begin(context.WithoutCancel(ctx), func(ctx context.Context) error {
		return app.Deliver(ctx, client, app.WorkerOptions{Config: s.o.Config, Logger: s.o.Logger})
	})
	return nil
}

// URL returns the broker's address for other processes, "" if it does not
// listen.
func (s *Stack) URL() string { return s.server.ClientURL() }

// Done is closed when the worker has ended, which it does before Close only if
// it failed: Close returns why.
func (s *Stack) Done() <-chan struct{} { return s.worker.done }

// Close lets the worker finish what is in flight and stops everything. What was
// stored stays in the directory. It is to be called once.
func (s *Stack) Close() error {
	err := s.worker.Stop()
	s.Client.Close()
	return errors.Join(err, s.server.Shutdown())
}

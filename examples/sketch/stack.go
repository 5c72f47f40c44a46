package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/extsync"
)

// startBroker runs a NATS server with its data in a directory.
func startBroker(dir string) (*server.Server, error) {
	broker, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: filepath.Join(dir, "broker"), NoSigs: true, NoLog: true,
	})
	if err != nil {
		return nil, err
	}
	broker.Start()
	if !broker.ReadyForConnections(10 * time.Second) {
		broker.Shutdown()
		return nil, errors.New("the broker did not start")
	}
	return broker, nil
}

// startWorker delivers what is pushed, to this machine and into files of the directory.
// stop lets it finish and returns why it failed, if it did.
func startWorker(ctx context.Context, url, dir string) (stop func() error, err error) {
	conn, err := extsync.Dial(ctx, url)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, err
	}
	allow := connectors.DefaultAllow()
	allow.Networks, allow.Databases = connectors.List{"127.0.0.0/8"}, connectors.List{dir}
	worker, err := delivery.New(delivery.Options{JS: js, Catalog: kinds.All(), Host: connectors.Host{Allow: allow}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	return func() error {
		defer conn.Close()
		cancel()
		return <-ended
	}, nil
}

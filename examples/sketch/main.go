// Sketch registers two channels, pushes one update and waits for its ack. The
// broker, the worker and the two external systems run in this process, so that
// 'go run ./examples/sketch' needs nothing else; a service of the platform would
// connect to a NATS server instead, and a connector-worker would run elsewhere.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/hms-utl/extsync/internal/app/local"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "extsync-sketch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory

	// What stands for the calendar's API, and for broker and worker.
	calendar := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer calendar.Close()
	stack, err := local.Start(ctx, local.Options{Dir: filepath.Join(dir, "broker"), Databases: dir})
	if err != nil {
		return err
	}
	defer stack.Close() //nolint:errcheck // the example is over

	// 1. Register two channels.
	registry, err := stack.Registry(ctx)
	if err != nil {
		return err
	}
	for _, channel := range []channels.Config{
		{
			Name: "appointment_calendar",
			Connector: channels.Connector{Kind: "http", Config: channels.NewRaw(map[string]any{
				"url": calendar.URL + "/appointments", "allow_cidrs": []string{"127.0.0.0/8"},
			})},
		},
		{
			Name: "erp_db",
			Connector: channels.Connector{Kind: "sql", Config: channels.NewRaw(map[string]any{
				"dialect": "sqlite", "dsn": filepath.Join(dir, "erp.db"), "auto_create": true,
			})},
		},
	} {
		if _, err := registry.Put(ctx, channel, 0); err != nil {
			return err
		}
	}

	// 2. Push an update, and wait until the calendar has it.
	publisher, err := stack.Publisher(ctx)
	if err != nil {
		return err
	}
	version, err := versioning.Number(7)
	if err != nil {
		return err
	}
	_, ack, err := publisher.Request(ctx, events.Update{
		Channel: "appointment_calendar",
		Key:     "p-2023-vax",
		Version: version,
		Payload: []byte(`{"content": "Booster every 6 months"}`),
	})
	if err != nil {
		return err
	}
	fmt.Println("Sync success:", ack.Outcome == events.Delivered)
	return nil
}

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

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
	"github.com/hms-utl/extsync/pkg/extsync"
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

	// What stands for the calendar's API, and for the broker.
	calendar := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer calendar.Close()
	broker, err := startBroker(dir)
	if err != nil {
		return err
	}
	defer broker.WaitForShutdown()
	defer broker.Shutdown()

	// 1. Register two channels.
	client, err := extsync.Connect(ctx, broker.ClientURL(), extsync.WithKinds(kinds.All()), extsync.WithStorage(channels.Storage{}))
	if err != nil {
		return err
	}
	defer client.Close()
	toCalendar := extsync.Channel{Name: "appointment_calendar", Connector: channels.Connector{Kind: "http", Config: channels.NewRaw(map[string]any{
		"url": calendar.URL + "/appointments", "allow_cidrs": []string{"127.0.0.0/8"}, // it is on this machine
	})}} // extsync.HTTP makes one for a target on a public network
	for _, channel := range []extsync.Channel{toCalendar, extsync.SQL("erp_db", "sqlite", filepath.Join(dir, "erp.db"))} {
		if err := client.Register(ctx, channel); err != nil {
			return err
		}
	}
	stop, err := startWorker(ctx, broker.ClientURL(), dir)
	if err != nil {
		return err
	}
	defer stop() //nolint:errcheck // the example is over

	// 2. Push an update, and wait until the calendar has it.
	ack, err := client.PushAndWait(ctx, extsync.Update{
		Channel: "appointment_calendar",
		Key:     "p-2023-vax",
		Version: extsync.Number(7),
		Payload: []byte(`{"content": "Booster every 6 months"}`),
	})
	if err != nil {
		return err
	}
	fmt.Println("Sync success:", ack.Outcome == extsync.Delivered)
	return nil
}

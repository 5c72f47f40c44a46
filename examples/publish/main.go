// Publish stores one version of an entity and waits for what becomes of it. It
// needs a broker with a channel and a worker: run 'extsync dev' first.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func main() {
	url := os.Getenv("EXTSYNC_NATS_URL")
	if url == "" {
		url = nats.DefaultURL
	}
	nc, err := nats.Connect(url)
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := publish(ctx, nc); err != nil {
		log.Print(err)
	}
}

// README:begin
func publish(ctx context.Context, nc *nats.Conn) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	publisher, err := events.NewPublisher(ctx, js, events.DefaultNames())
	if err != nil {
		return err
	}
	_, ack, err := publisher.Request(ctx, events.Update{
		Channel: "erp_db",
		Key:     "p-2023-vax",
		Version: versioning.Must(versioning.Number(7)),
		Payload: []byte(`{"content": "Booster every 6 months"}`),
	})
	switch {
	case errors.Is(err, events.ErrStale), errors.Is(err, events.ErrConflict):
		return err // a newer version, or another content of this one, is there
	case errors.Is(err, events.ErrNoAck):
		return err // stored and on its way; publisher.Outcome tells later
	case err != nil:
		return err // not known to be stored: publish the same update again
	}
	fmt.Println(ack.Outcome) // delivered
	return nil
}

// README:end

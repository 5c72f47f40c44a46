package extsync_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
	"github.com/hms-utl/extsync/pkg/extsync"
)

// update returns a version of a policy.
func update(key string, version int64, content string) extsync.Update {
	return extsync.Update{Channel: "erp_db", Key: key, Version: extsync.Number(version), Payload: []byte(`{"content": "` + content + `"}`)}
}

// connect is Connect for the examples that are about something else.
func connect(ctx context.Context) *extsync.Client {
	client, err := extsync.Connect(ctx, stack.URL(), extsync.WithKinds(kinds.All()))
	if err != nil {
		log.Fatal(err)
	}
	return client
}

// Register two channels, push an update, and wait until the target has it.
func Example() {
	ctx := context.Background()
	client, err := extsync.Connect(ctx, stack.URL(), extsync.WithKinds(kinds.All()))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if err := errors.Join(
		client.Register(ctx, extsync.HTTP("calendar", "https://calendar.example/appointments")),
		client.Register(ctx, extsync.SQL("erp_db", "sqlite", sqliteFile)),
	); err != nil {
		log.Fatal(err)
	}
	ack, err := client.PushAndWait(ctx, extsync.Update{
		Channel: "erp_db", Key: "p-2023-vax", Version: extsync.Number(7),
		Payload: []byte(`{"content": "Booster every 6 months"}`),
	})
	fmt.Println(ack.Outcome, err)
	// Output: delivered <nil>
}

// A client with credentials, on a broker that may still be empty.
func ExampleConnect() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client, err := extsync.Connect(ctx, stack.URL(),
		extsync.WithNATS(nats.Name("portal")), // nats.UserCredentials, nats.RootCAs, ...
		extsync.WithPrefix("trial"),
		extsync.WithStorage(channels.Storage{Replicas: 1}),
	)
	if err != nil {
		log.Fatal(err)
	}
	client.Close()
	_, err = extsync.Connect(ctx, stack.URL(), extsync.WithPrefix("other"))
	fmt.Println(errors.Is(err, extsync.ErrNotProvisioned))
	// Output: true
}

func ExampleClient_Register() {
	ctx := context.Background()
	client := connect(ctx)
	defer client.Close()
	channel := extsync.HTTP("partners", "https://partners.example/in")
	channel.Description, channel.Concurrency = "the partner agencies", 4
	fmt.Println(client.Register(ctx, channel)) // again at each start
	fmt.Println(client.Register(ctx, channel))
	// Output:
	// <nil>
	// <nil>
}

func ExampleClient_Push() {
	ctx := context.Background()
	client := connect(ctx)
	defer client.Close()
	for range 2 { // the second time because the first answer may have been lost
		receipt, err := client.Push(ctx, update("p-2024-flu", 3, "Once a year"))
		fmt.Println(receipt.Version, receipt.Duplicate, err)
	}
	// Output:
	// 3 false <nil>
	// 3 true <nil>
}

// Whoever pushes an older version learns which one is the newest.
func ExampleRefusal() {
	ctx := context.Background()
	client := connect(ctx)
	defer client.Close()
	if _, err := client.Push(ctx, update("p-2025-rsv", 8, "Once, from 60")); err != nil {
		log.Fatal(err)
	}
	_, err := client.Push(ctx, update("p-2025-rsv", 7, "Once, from 65"))
	var refusal *extsync.Refusal
	if errors.As(err, &refusal) {
		fmt.Println(errors.Is(err, extsync.ErrStale), refusal.Head.Version)
	}
	fmt.Println(err)
	// Output:
	// true 8
	// stale: channel erp_db, key p-2025-rsv: version 7 is older than the newest, 8
}

func ExampleClient_PushAndWait() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client := connect(ctx)
	defer client.Close()
	ack, err := client.PushAndWait(ctx, update("p-2026-mmr", 1, "Two doses"))
	switch {
	case errors.Is(err, extsync.ErrNoAck):
		fmt.Println("stored, and on its way")
	case err != nil:
		log.Fatal(err) // on extsync.ErrUnavailable push the same update again
	default:
		fmt.Println(ack.Outcome)
	}
	// Output: delivered
}

// One update for all channels that read a topic.
func ExampleClient_PushToTopic() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client := connect(ctx)
	defer client.Close()
	acks, err := client.PushToTopic(ctx, extsync.Update{
		Topic: "policies", Key: "p-2029-ipv", Version: extsync.Number(1), Payload: []byte(`{"content": "Four doses"}`),
	})
	if err != nil && !errors.Is(err, extsync.ErrNoAck) {
		log.Fatal(err) // on extsync.ErrUnavailable push the same update again
	}
	for _, ack := range acks {
		if ack.Outcome == "" {
			fmt.Println(ack.Channel, "stored, and on its way")
			continue
		}
		fmt.Println(ack.Channel, ack.Outcome)
	}
	// Output:
	// archive delivered
	// portal delivered
}

func ExampleClient_Outcome() {
	ctx := context.Background()
	client := connect(ctx)
	defer client.Close()
	if _, err := client.Push(ctx, update("p-2027-hpv", 1, "From 9")); err != nil {
		log.Fatal(err)
	}
	for range time.Tick(100 * time.Millisecond) {
		ack, err := client.Outcome(ctx, "erp_db", "p-2027-hpv", extsync.Number(1))
		if errors.Is(err, extsync.ErrNoOutcome) {
			continue // it is on its way
		}
		fmt.Println(ack.Outcome, err)
		break
	}
	// Output: delivered <nil>
}

// A service that reads its acks later, after a restart too.
func ExampleClient_Acks() {
	ctx := context.Background()
	client := connect(ctx)
	defer client.Close()
	u := update("p-2028-tdap", 1, "Every 10 years")
	var err error
	if u.ReplyTo, err = client.AckTo("portal", "1"); err != nil {
		log.Fatal(err)
	}
	if _, err := client.Push(ctx, u); err != nil {
		log.Fatal(err)
	}
	for ack, err := range client.Acks(ctx, "portal") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(ack.Key, ack.Version, ack.Outcome)
		break
	}
	// Output: p-2028-tdap 1 delivered
}

func ExampleNumber() {
	fmt.Println(extsync.Number(7), extsync.Number(0).IsZero())
	// Output: 7 true
}

func ExampleTime() {
	fmt.Println(extsync.Time(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)))
	// Output: 2026-05-01T12:00:00Z
}

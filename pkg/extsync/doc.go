// Package extsync is the door for programs in Go: connect, push an update, and learn
// what became of it.
//
//	client, err := extsync.Connect(ctx, "nats://127.0.0.1:4222")
//	ack, err := client.PushAndWait(ctx, extsync.Update{
//		Channel: "erp_db", Key: "p-2023-vax", Version: extsync.Number(7),
//		Payload: []byte(`{"content": "Booster every 6 months"}`),
//	})
//
// A version that is older than the newest of its key is refused, and so is other
// content under the same version: push the newest state, with its version, as often
// as needed. An update that was pushed will be delivered, or replaced by a newer one,
// or end as a dead letter that says why.
//
// An update with Topic in place of Channel reaches every channel that reads the topic:
// Push stores it, PushToTopic waits for the outcome in each.
//
// The packages behind it are for what goes further: publish (many updates at
// once), events (keys, subjects and headers of the wire), channels (the registry), delivery (a worker in a program
// of your own).
package extsync

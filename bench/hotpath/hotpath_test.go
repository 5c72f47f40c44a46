package hotpath_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// entries is how many outcomes the group of the benchmark has.
const entries = 100

func update() events.Update {
	return events.Update{
		Channel: "bench", Key: "k000123", Version: versioning.Must(versioning.Number(7)), ReplyTo: "_INBOX.4eZPRQ3j9cZaVj0tZrJJgX",
		Payload: []byte(`{"text":"x"}`), Time: time.Unix(1_700_000_000, 0), // its digest is a step of its own
	}
}

// entry is the outcome that a worker logs for a delivered update.
func entry(u *events.Update, version int64) wire.Entry {
	return wire.Entry{
		Key: u.Key, Op: events.Upsert, ReplyTo: u.ReplyTo, Sequence: 41,
		Settlement: events.Settlement{
			Version: versioning.Must(versioning.Number(version)), Digest: u.Digest(), ID: u.ID, Outcome: events.Delivered, Attempts: 1, Response: "204 No Content",
			At: time.Unix(1_700_000_000, 123_000_000).UTC(),
		},
	}
}

// Each step of an update's way that needs no other process. Their names stand in
// instructions.txt.
func BenchmarkHotPath(b *testing.B) {
	names := events.DefaultNames()
	u := update().WithDefaults()
	msg, err := wire.Encode(names, u)
	if err != nil {
		b.Fatal(err)
	}
	raw := headers(msg)
	subject := wire.StoredUpdate(names, events.ToChannel(u.Channel), u.Key)
	group := wire.Group{Format: wire.Format, Channel: u.Channel, ChannelID: "CVT7Q2K4WZ3M", Epoch: 17, Number: 2, Worker: "w-1", At: time.Unix(1_700_000_000, 0).UTC()}
	record := wire.Record{ChannelID: group.ChannelID}
	for i := range int64(entries) {
		group.Entries = append(group.Entries, entry(&u, i+1))
		record.Add(group.Entries[i], wire.LogPosition{Seq: uint64(i) + 1})
	}
	next := entry(&u, entries+1)
	acked := group
	acked.Entries = slices.Clone(group.Entries)
	if _, err := acked.Append(nil); err != nil {
		b.Fatal(err)
	}
	stored, err := record.Encode()
	if err != nil {
		b.Fatal(err)
	}
	large := update()
	large.Payload = []byte(strings.Repeat("x", 300))
	var out []byte

	for _, step := range []struct {
		name string
		run  func() error
	}{
		{"encode-update", func() error { _, err := wire.Encode(names, update()); return err }},
		{"decode-update", func() error {
			h, err := nats.DecodeHeadersMsg(raw)
			if err != nil {
				return err
			}
			_, err = wire.Decode(names, subject, h, msg.Data)
			return err
		}},
		{"digest-300-bytes", func() error { _ = large.Tag(); return nil }},
		{"encode-100-plain-keys", func() error { return encodeKeys("k000123") }},
		{"encode-100-other-keys", func() error { return encodeKeys("tenant/ä 7.b") }},
		{"add-to-record", func() error { r := record; r.Add(next, wire.LogPosition{Seq: entries + 1}); return nil }},
		{"encode-record", func() error { out, err = record.Append(out[:0]); return err }},
		{"decode-record", func() error { _, err := wire.DecodeRecord(stored); return err }},
		{"encode-100-acks", func() error {
			out = out[:0]
			for i := range acked.Entries {
				if out, err = acked.Entries[i].AppendAck(out, u.Channel, ""); err != nil {
					return err
				}
			}
			return nil
		}},
		{"encode-group-of-100", func() error { out, err = group.Append(out[:0]); return err }},
	} {
		b.Run(step.name, func(b *testing.B) {
			for b.Loop() {
				if err := step.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// encodeKeys encodes a key a hundred times: one is too little to be counted, as is an ack.
func encodeKeys(key string) error {
	for range 100 {
		if _, err := events.EncodeKey(key); err != nil {
			return err
		}
	}
	return nil
}

// headers returns the headers as they come from the broker.
func headers(m *nats.Msg) []byte {
	var b strings.Builder
	b.WriteString("NATS/1.0\r\n")
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		b.WriteString(name + ": " + m.Header.Get(name) + "\r\n")
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}

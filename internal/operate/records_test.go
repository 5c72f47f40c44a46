package operate_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// An outcome that the ledger does not have yet is found in the log, in whichever group of
// many and whatever the key, and in each of several channels.
func TestFindReadsOutcomesThatTheLedgerLacks(t *testing.T) {
	client, err := operate.Connect(t.Context(), config.Default(), zerolog.Nop(), natstest.Run(t).InProcess())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	names := []string{"a", "b", "c"}
	var configs []channels.Config
	for _, name := range names {
		configs = append(configs, channels.Config{Name: name, Mode: channels.Latest, MaxBytes: 8 << 20, Connector: channels.Connector{
			Kind: "http", Config: channels.NewRaw(map[string]any{"url": "https://target.example/x"}),
		}}.WithDefaults())
	}
	if _, err := client.Apply(t.Context(), channels.File{Channels: configs}, false); err != nil {
		t.Fatal(err)
	}
	incarnation, err := wire.ReadIncarnation(t.Context(), client.JS, client.Names)
	if err != nil {
		t.Fatal(err)
	}
	registry, err := client.Registry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{"k", "k1", `a<b>&"c"\`, "ä\u2028ö", "key\":\"k"}
	for n, name := range names {
		entry, err := registry.Get(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for i, key := range keys {
			// Each key has a group of its own, with one of another key.
			v := versioning.Must(versioning.Number(int64(10*n + i + 1)))
			settled := events.Settlement{Version: v, Outcome: events.Delivered, Attempts: 1, At: time.Now()}
			g := wire.Group{
				Format: wire.Format, Channel: name, ChannelID: entry.ID, Epoch: 1, Number: uint64(i), Worker: "w", At: time.Now(),
				Entries: []wire.Entry{{Key: "other", Op: events.Upsert, Settlement: settled}, {Key: key, Op: events.Upsert, Settlement: settled}},
			}
			data, err := g.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.JS.PublishMsg(t.Context(), &nats.Msg{Subject: wire.Outcomes(client.Names, name, incarnation, 0), Data: data}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, key := range keys {
		found, err := client.Find(t.Context(), key, "")
		if err != nil || len(found) != len(names) {
			t.Fatalf("%q: %+v, %v", key, found, err)
		}
		for n, w := range found {
			if want := versioning.Must(versioning.Number(int64(10*n + i + 1))); w.Channel != names[n] || w.State != string(events.Delivered) || w.Target.Version != want {
				t.Errorf("%q in %s: %+v, want version %s", key, names[n], w, want)
			}
		}
	}
}

package operate_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/extsync"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func connect(t *testing.T) *operate.Client {
	t.Helper()
	client, err := operate.Connect(t.Context(), config.Default(), zerolog.Nop(), natstest.Run(t).InProcess())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func channel(name string) channels.Config {
	return channels.Config{Name: name, Connector: channels.Connector{
		Kind: "http", Config: channels.NewRaw(map[string]any{"url": "https://" + name + ".example/x"}),
	}}.WithDefaults()
}

func TestCatalog(t *testing.T) {
	for _, kind := range kinds.All().Kinds() {
		if kind.Name == "" || kind.Summary == "" || kind.Check == nil || kind.Open == nil {
			t.Errorf("kind is not complete: %+v", kind)
		}
		if err := kind.Check([]byte("no_such_field: 1")); !errors.Is(err, connectors.ErrConfig) {
			t.Errorf("%s takes an unknown field: %v", kind.Name, err)
		}
	}
}

func TestApplyChangesNothingIfOneIsInvalid(t *testing.T) {
	client := connect(t)
	bad := channel("b")
	bad.Window = -1
	applied, err := client.Apply(t.Context(), channels.File{Channels: []channels.Config{channel("a"), bad}}, false)
	if !errors.Is(err, connectors.ErrConfig) || len(applied.Channels) != 0 {
		t.Fatalf("changes %v, error %v", applied, err)
	}
	if _, err := client.Registry(t.Context()); !errors.Is(err, events.ErrNotProvisioned) {
		t.Errorf("something was made: %v", err)
	}
}

func TestApplyChangesNothingIfOneCannotBeChanged(t *testing.T) {
	client := connect(t)
	if _, err := client.Apply(t.Context(), channels.File{Channels: []channels.Config{channel("a"), channel("b")}}, false); err != nil {
		t.Fatal(err)
	}
	first, second := channel("a"), channel("b")
	first.Description, second.Mode = "changed", channels.Every
	applied, err := client.Apply(t.Context(), channels.File{Channels: []channels.Config{first, second, channel("c")}}, false)
	if !errors.Is(err, channels.ErrImmutable) || len(applied.Channels) != 0 {
		t.Errorf("changes %+v, error %v; want ErrImmutable", applied, err)
	}
	if _, err := client.JS.Stream(t.Context(), wire.UpdateStream(client.Names, events.ToChannel("c"))); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the stream of c was made: %v", err)
	}
}

func TestFind(t *testing.T) {
	client := connect(t)
	if _, err := client.Apply(t.Context(), channels.File{Channels: []channels.Config{channel("a"), channel("b")}}, false); err != nil {
		t.Fatal(err)
	}
	publisher, err := client.Publisher(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v7 := versioning.Must(versioning.Number(7))
	if _, err := publisher.Publish(t.Context(), events.Update{Channel: "b", Key: "k", Version: v7, Op: events.Delete}); err != nil {
		t.Fatal(err)
	}
	// What somebody wrote past the contract is shown, not hidden.
	raw := nats.NewMsg(client.Names.Update(events.ToChannel("a"), "odd"))
	if _, err := client.JS.PublishMsg(t.Context(), raw); err != nil {
		t.Fatal(err)
	}

	found, err := client.Find(t.Context(), "k", "")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 2 || found[0].State != operate.StateAbsent || found[1].State != operate.StatePending {
		t.Errorf("k: %+v", found)
	}
	if n := found[1].Newest; n.Version != v7 || n.Op != events.Delete || n.At.IsZero() {
		t.Errorf("newest of k: %+v", n)
	}
	odd, err := client.Find(t.Context(), "odd", "a")
	if err != nil || odd[0].State != operate.StateMalformed || odd[0].Error == nil {
		t.Errorf("odd: %+v, error %v", odd, err)
	}
	for name, tt := range map[string]struct {
		key, channel string
		want         error
	}{
		"nowhere":    {"other", "", operate.ErrUnknownKey},
		"not there":  {"k", "a", operate.ErrUnknownKey},
		"no channel": {"k", "c", channels.ErrNotFound},
		"no key":     {"", "", events.ErrInvalidUpdate},
	} {
		if _, err := client.Find(t.Context(), tt.key, tt.channel); !errors.Is(err, tt.want) {
			t.Errorf("%s: error = %v, want %v", name, err, tt.want)
		}
	}
}

func TestConnectWithoutBroker(t *testing.T) {
	cfg := config.Default()
	cfg.NATS.URL = "nats://user:hunter2@127.0.0.1:1"
	_, err := operate.Connect(t.Context(), cfg, zerolog.Nop())
	if !errors.Is(err, extsync.ErrAway) || !errors.Is(err, extsync.ErrConnect) {
		t.Errorf("error = %v, want ErrAway", err)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a password is shown: %v", err)
	}
}

package publish_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/wire/wiretest"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// platform is a provisioned broker with two channels, "latest" and "every".
type platform struct {
	*natstest.Broker
	names events.Names
	// records is where settle publishes a key's record.
	records string
}

func newPlatform(t *testing.T, o ...natstest.Options) *platform {
	t.Helper()
	p := &platform{Broker: natstest.Run(t, o...), names: events.DefaultNames()}
	p.records = wire.KVSubject(wire.LedgerBucket(p.names), "")
	if err := channels.Provision(t.Context(), p.JS, p.names, channels.Storage{}); err != nil {
		t.Fatal(err)
	}
	p.put(t, channels.Config{Name: "latest", Mode: channels.Latest})
	p.put(t, channels.Config{Name: "every", Mode: channels.Every})
	return p
}

func (p *platform) registry(t *testing.T) *channels.Registry {
	t.Helper()
	kind := connectors.Kind{Name: "none", Check: func([]byte) error { return nil }}
	registry, err := channels.OpenRegistry(t.Context(), p.JS, p.names, connectors.NewCatalog(kind))
	if err != nil {
		t.Fatal(err)
	}
	return registry
}

func (p *platform) put(t *testing.T, c channels.Config) {
	t.Helper()
	c.Connector.Kind = "none"
	if _, err := p.registry(t).Put(t.Context(), c, 0); err != nil {
		t.Fatal(err)
	}
}

// publisher returns one that remembers nothing of what others published.
func (p *platform) publisher(t *testing.T) *publish.Publisher {
	t.Helper()
	pub, err := publish.New(t.Context(), p.JS, p.names)
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

// settle does what a worker does: the newest update of the key leaves an every
// channel, and the ledger tells its outcome.
func (p *platform) settle(t *testing.T, channel string, e wire.Entry) {
	t.Helper()
	ledger, err := wire.OpenLedger(t.Context(), p.JS, p.names)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := ledger.Get(t.Context(), channel, e.Key)
	if err != nil && !errors.Is(err, events.ErrNoRecord) {
		t.Fatal(err)
	}
	stream, err := p.JS.Stream(t.Context(), wire.UpdateStream(p.names, events.ToChannel(channel)))
	if err != nil {
		t.Fatal(err)
	}
	rec.ChannelID = stream.CachedInfo().Config.Metadata[wire.MetadataChannelID]
	rec.Add(e, wiretest.Place(rec.Seq+1))
	data, err := rec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.JS.Publish(t.Context(), p.records+wire.LedgerKey(p.names, channel, testkit.EncodeKey(t, e.Key)), data); err != nil {
		t.Fatal(err)
	}
	p.forget(t, channel)
}

// hush lets records come into the ledger without anybody hearing of them: from
// another stream.
func (p *platform) hush(t *testing.T) {
	t.Helper()
	aside := jetstream.StreamConfig{Name: "ASIDE", Subjects: []string{"aside.>"}}
	if _, err := p.JS.CreateStream(t.Context(), aside); err != nil {
		t.Fatal(err)
	}
	ledger, err := p.JS.Stream(t.Context(), wire.KVStream(wire.LedgerBucket(p.names)))
	if err != nil {
		t.Fatal(err)
	}
	cfg := ledger.CachedInfo().Config
	cfg.Sources = []*jetstream.StreamSource{{Name: aside.Name, SubjectTransforms: []jetstream.SubjectTransformConfig{
		{Source: "aside.>", Destination: p.records + ">"},
	}}}
	if _, err := p.JS.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	p.records = "aside."
}

// forget removes what a channel of mode every holds.
func (p *platform) forget(t *testing.T, channel string) {
	t.Helper()
	if channel != "every" {
		return
	}
	stream, err := p.JS.Stream(t.Context(), wire.UpdateStream(p.names, events.ToChannel(channel)))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// of returns an update: of(t, "latest", "k", "7a") is version 7 with content a.
func of(t testing.TB, channel, key, s string) events.Update {
	t.Helper()
	return events.Update{Channel: channel, Key: key, Version: testkit.Version(t, s[:len(s)-1]), Payload: []byte(s[len(s)-1:])}
}

// verdictOf names what a publish came to.
func verdictOf(r events.Receipt, err error) string {
	switch {
	case errors.Is(err, events.ErrStale):
		return "stale"
	case errors.Is(err, events.ErrConflict):
		return "conflict"
	case err != nil:
		return err.Error()
	case r.Duplicate:
		return "duplicate"
	default:
		return "stored"
	}
}

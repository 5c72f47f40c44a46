package channels_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// open returns the registry of a broker of the test's own.
func open(t testing.TB) (*natstest.Broker, *channels.Registry) {
	t.Helper()
	b := natstest.Run(t)
	names := events.DefaultNames()
	testkit.Must(t, channels.Provision(t.Context(), b.JS, names, channels.Storage{}))
	testkit.Must(t, channels.Provision(t.Context(), b.JS, names, channels.Storage{})) // repeating is harmless
	r, err := channels.OpenRegistry(t.Context(), b.JS, names, catalog())
	testkit.Must(t, err)
	return b, r
}

func config(name string, mode channels.Mode) channels.Config {
	return channels.Config{Name: name, Mode: mode, Connector: channels.Connector{Kind: "memory"}}
}

func TestRegistryOfABrokerThatIsNotProvisioned(t *testing.T) {
	b := natstest.Run(t)
	_, err := channels.OpenRegistry(t.Context(), b.JS, events.DefaultNames(), catalog())
	if !errors.Is(err, events.ErrNotProvisioned) {
		t.Fatalf("got %v", err)
	}
}

func TestPutComparesAndSets(t *testing.T) {
	_, r := open(t)
	first, err := r.Put(t.Context(), config("a", channels.Latest), 0)
	testkit.Must(t, err)
	if _, err := r.Put(t.Context(), config("a", channels.Latest), 0); !errors.Is(err, channels.ErrRevision) {
		t.Fatalf("created twice: %v", err)
	}
	same, err := r.Put(t.Context(), config("a", channels.Latest), first.Revision)
	testkit.Must(t, err)
	if same.Revision != first.Revision {
		t.Fatalf("nothing changed, but the revision did: %d to %d", first.Revision, same.Revision)
	}
	changed := config("a", channels.Latest)
	changed.Concurrency = 3
	second, err := r.Put(t.Context(), changed, first.Revision)
	testkit.Must(t, err)
	if _, err := r.Put(t.Context(), config("a", channels.Latest), first.Revision); !errors.Is(err, channels.ErrRevision) {
		t.Fatalf("over somebody else's change: %v", err)
	}
	if _, err := r.Put(t.Context(), config("a", channels.Every), second.Revision); !errors.Is(err, channels.ErrImmutable) {
		t.Fatalf("another mode: %v", err)
	}
	got, err := r.Get(t.Context(), "a")
	testkit.Must(t, err)
	if got.Config.Concurrency != 3 || got.Revision != second.Revision || got.Generation != 1 {
		t.Fatalf("not the second configuration in generation 1: %+v", got)
	}
	for _, name := range []string{"none", "No.Name", ""} {
		if _, err := r.Get(t.Context(), name); !errors.Is(err, channels.ErrNotFound) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestStreamOfAChannel(t *testing.T) {
	b, r := open(t)
	for mode, want := range map[channels.Mode]struct {
		retention  jetstream.RetentionPolicy
		perSubject int64
	}{channels.Latest: {jetstream.LimitsPolicy, 1}, channels.Every: {jetstream.WorkQueuePolicy, -1}} {
		_, err := r.Put(t.Context(), config(string(mode), mode), 0)
		testkit.Must(t, err)
		s, err := b.JS.Stream(t.Context(), wire.UpdateStream(events.DefaultNames(), events.ToChannel(string(mode))))
		testkit.Must(t, err)
		c := s.CachedInfo().Config
		if c.Retention != want.retention || c.MaxMsgsPerSubject != want.perSubject || c.Discard != jetstream.DiscardNew ||
			c.MaxAge != 0 || c.MaxBytes != 64<<20 || c.SubjectTransform == nil {
			t.Errorf("%s: %+v", mode, c)
		}
		if c.AllowRollup || c.AllowMsgTTL || c.AllowMsgSchedules { // a publisher could wipe the stream by a header
			t.Errorf("%s: a header could rewrite the stream: %+v", mode, c)
		}
	}
}

func TestListShowsWhatCanBeReadAndNamesTheRest(t *testing.T) {
	b, r := open(t)
	for _, name := range []string{"b", "a"} {
		_, err := r.Put(t.Context(), config(name, channels.Latest), 0)
		testkit.Must(t, err)
	}
	kv, err := b.JS.KeyValue(t.Context(), wire.RegistryBucket(events.DefaultNames()))
	testkit.Must(t, err)
	_, err = kv.PutString(t.Context(), "broken", "{")
	testkit.Must(t, err)
	_, err = kv.PutString(t.Context(), "newer", `{"f":2,"config":{"name":"newer"}}`)
	testkit.Must(t, err)
	list, err := r.List(t.Context())
	if len(list) != 2 || list[0].Config.Name != "a" || list[1].Config.Name != "b" {
		t.Fatalf("not channels a and b: %+v", list)
	}
	if !errors.Is(err, events.ErrNewerFormat) || !strings.Contains(err.Error(), "broken") || !strings.Contains(err.Error(), "newer") {
		t.Fatalf("got %v", err)
	}
}

func TestChangesWakeUp(t *testing.T) {
	_, r := open(t)
	changes, err := r.Changes(t.Context())
	testkit.Must(t, err)
	wait := func() {
		t.Helper()
		select {
		case <-changes:
		case <-time.After(testkit.Patience):
			t.Fatal("nothing was said")
		}
	}
	wait() // at the start
	_, err = r.Put(t.Context(), config("a", channels.Latest), 0)
	testkit.Must(t, err)
	wait()
}

func TestProvisionSaysWhatDoesNotFit(t *testing.T) {
	b := natstest.Run(t)
	err := channels.Provision(t.Context(), b.JS, events.DefaultNames(), channels.Storage{LedgerBytes: 1 << 50})
	if err == nil || !strings.Contains(err.Error(), "KV_sync_ledger") || !strings.Contains(err.Error(), "1024TiB") {
		t.Fatalf("got %v", err)
	}
}

func TestProgressIsWrittenByCompareAndSet(t *testing.T) {
	b, _ := open(t)
	s, err := channels.OpenProgress(t.Context(), b.JS, events.DefaultNames())
	testkit.Must(t, err)
	p, revision, err := s.Read(t.Context(), "a", 1, 0)
	testkit.Must(t, err)
	if revision != 0 || !p.Clean {
		t.Fatalf("nobody has worked on it: %+v, %d", p, revision)
	}
	p.Floor = 7
	revision, err = s.Write(t.Context(), "a", 1, 0, p, 0)
	testkit.Must(t, err)
	again, err := s.Write(t.Context(), "a", 1, 0, p, 0) // our own write, whose answer was lost
	testkit.Must(t, err)
	if again != revision {
		t.Fatalf("revision %d instead of %d", again, revision)
	}
	p.Floor = 8
	if _, err := s.Write(t.Context(), "a", 1, 0, p, 0); !errors.Is(err, channels.ErrProgressChanged) {
		t.Fatalf("over another's write: %v", err)
	}
}

package channels

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// Errors of the registry.
var (
	// ErrNotFound says that there is no such channel.
	ErrNotFound = errors.New("channel not found")
	// ErrRevision says that a channel or topic was changed by somebody else meanwhile.
	ErrRevision = errors.New("changed meanwhile")
	// ErrImmutable says that a change would need another stream.
	ErrImmutable = errors.New("cannot be changed")
)

// An Entry is a channel as the registry holds it.
type Entry struct {
	Config Config
	// ID is made with the channel. Whatever is stored of a channel carries it, and with
	// another id is of a channel that had the name before (docs/adr/0032).
	ID string
	// Revision is that of the registry's entry; it changes with every change.
	Revision uint64
	// Generation counts the changes of Partitions, from 1, and on from where a former
	// channel of the name has ended.
	Generation int
	// Gated says that the partitions are being changed: workers drain them and
	// start no other work.
	Gated bool
	// Deleted is when the channel was deleted; zero if it was not.
	Deleted time.Time
	// Sweeping is when somebody began to remove what belongs to the channel, for good;
	// zero if nobody has.
	Sweeping time.Time
	// Reloads counts how often workers were asked to open the connector anew.
	Reloads int
	// Fill is the id of the resync by which the channel gets what the topic that it reads had
	// when it was made, or came to take more keys; "": there was nothing.
	Fill string
	// Content tells configurations apart that make something else of an update.
	Content wire.ContentID
	// Remade is when a change of the configuration made another content last; zero if none
	// has.
	Remade  time.Time
	Updated time.Time
}

func (e *Entry) stored() stored {
	return stored{ID: e.ID, Generation: e.Generation, Config: e.Config, Gated: e.Gated, Deleted: e.Deleted, Sweeping: e.Sweeping, Reloads: e.Reloads, Fill: e.Fill, Content: e.Content, Remade: e.Remade}
}

// stored is the form of an entry in the bucket.
type stored struct {
	Format     int       `json:"f"`
	ID         string    `json:"id"`
	Generation int       `json:"generation"`
	Config     Config    `json:"config"`
	Gated      bool      `json:"gated,omitempty"`
	Deleted    time.Time `json:"deleted,omitzero"`
	Reloads    int       `json:"reloads,omitempty"`
	Fill       string    `json:"fill,omitempty"`
	// Content is made with Config by who knows the connector's kind.
	Content wire.ContentID `json:"content"`
	Remade  time.Time      `json:"remade,omitzero"`
	// Sweeping is when somebody began to remove what belongs to the channel.
	Sweeping time.Time `json:"sweeping,omitzero"`
	// Swept is when the last of the channel was removed. The entry stays, and is none:
	// were it removed, a killed broker could bring back the one before it.
	Swept time.Time `json:"swept,omitzero"`
}

func (s *stored) entry(revision uint64, updated time.Time) Entry {
	return Entry{
		Config: s.Config, ID: s.ID, Revision: revision, Generation: s.Generation,
		Gated: s.Gated, Deleted: s.Deleted, Sweeping: s.Sweeping, Reloads: s.Reloads, Fill: s.Fill, Content: s.Content, Remade: s.Remade, Updated: updated,
	}
}

// kvOperation is the header of what is left of a deleted key.
const kvOperation = "KV-Operation"

// idLen is how long the id of a channel is: 60 random bits.
const idLen = 12

// Registry keeps the configurations of all channels in a bucket at the broker.
// It is safe for concurrent use.
type Registry struct {
	js       jetstream.JetStream
	kv       jetstream.KeyValue
	read     entryReader // kv, or what was read of it
	progress *ProgressStore
	names    events.Names
	catalog  *connectors.Catalog

	listing chan struct{} // whoever lists puts something in
	shelf   *shelf        // of List and Topics
}

// OpenRegistry returns the registry of a provisioned broker, else
// events.ErrNotProvisioned. catalog checks what is put; it may be nil for a registry
// that is only read.
func OpenRegistry(ctx context.Context, js jetstream.JetStream, names events.Names, catalog *connectors.Catalog) (*Registry, error) {
	r, err := ReadRegistry(ctx, js, names)
	if err != nil {
		return nil, err
	}
	r.catalog = catalog
	if r.progress, err = OpenProgress(ctx, js, names); err != nil {
		return nil, err
	}
	return r, nil
}

// ReadRegistry returns a registry of which only the entries can be read. It needs
// nothing but the registry's bucket: events.ErrNotProvisioned if that is missing.
func ReadRegistry(ctx context.Context, js jetstream.JetStream, names events.Names) (*Registry, error) {
	kv, err := js.KeyValue(ctx, wire.RegistryBucket(names))
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("%w: bucket %s is missing; apply a channel first", events.ErrNotProvisioned, wire.RegistryBucket(names))
	}
	if err != nil {
		return nil, fmt.Errorf("open the channel registry: %w", err)
	}
	return &Registry{js: js, kv: kv, read: kv, names: names, listing: make(chan struct{}, 1), shelf: &shelf{js: js, bucket: wire.RegistryBucket(names)}}, nil
}

// A NotFoundError is an ErrNotFound with the name, which is well formed.
type NotFoundError struct{ Name string }

// Error names the channel.
func (e *NotFoundError) Error() string { return ErrNotFound.Error() + ": " + e.Name }

// Unwrap returns ErrNotFound.
func (e *NotFoundError) Unwrap() error { return ErrNotFound }

// Get returns one channel, or ErrNotFound.
func (r *Registry) Get(ctx context.Context, name string) (Entry, error) {
	e, _, err := r.get(ctx, name)
	return e, err
}

// get is Get. With ErrNotFound it returns what is left of a former channel of the
// name: its generation, and the revision to expect.
func (r *Registry) get(ctx context.Context, name string) (e, former Entry, err error) {
	if err := events.CheckChannel(name); err != nil {
		return Entry{}, Entry{}, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	kve, err := r.read.Get(ctx, name)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Entry{}, Entry{}, &NotFoundError{name}
	}
	if err != nil {
		return Entry{}, Entry{}, fmt.Errorf("read channel %s: %w", name, err)
	}
	e, swept, err := decodeEntry(name, kve.Value(), kve.Revision(), kve.Created())
	if err == nil && swept {
		return Entry{}, e, &NotFoundError{name}
	}
	return e, Entry{}, err
}

func decodeEntry(name string, data []byte, revision uint64, updated time.Time) (e Entry, swept bool, err error) {
	var s stored
	if err := decodeStored(data, &s, &s.Format, "channel "+name); err != nil {
		return Entry{}, false, err
	}
	return s.entry(revision, updated), !s.Swept.IsZero(), nil
}

// List returns every channel that can be read, ordered by name, and an error
// that names those that cannot: one bad entry hides no other.
func (r *Registry) List(ctx context.Context) ([]Entry, error) {
	return list(ctx, r, "", "channels", decodeEntry)
}

// Put creates or changes a channel: it validates, brings the channel's stream
// up to the configuration, and stores. expect is the revision that the caller
// has seen, 0 for a channel that must be new; another one is ErrRevision. A
// configuration equal to what is stored changes nothing, and one that does not say
// whether the channel is paused leaves that as it is. A change of Partitions
// waits until the workers have drained the channel, up to half a minute:
// ErrNotDrained if they do not.
func (r *Registry) Put(ctx context.Context, c Config, expect uint64) (Entry, error) {
	c = c.WithDefaults()
	if err := c.Validate(r.catalog); err != nil {
		return Entry{}, fmt.Errorf("channel %q: %w", c.Name, err)
	}
	old, former, err := r.get(ctx, c.Name)
	switch {
	case errors.Is(err, ErrNotFound):
		old = Entry{Generation: former.Generation + 1}
		if old.ID, err = r.newID(ctx, c.Name); err != nil {
			return Entry{}, err
		}
	case err != nil:
		return Entry{}, err
	}
	if old.Revision != expect {
		return Entry{}, fmt.Errorf("%w: %s is at revision %d, not %d", ErrRevision, c.Name, old.Revision, expect)
	}
	c = old.Wanted(c)
	change, err := old.Change(c)
	if err != nil {
		return old, err
	}
	if change == Unchanged {
		return old, r.EnsureFill(ctx, old)
	}
	if err := r.checkTopic(ctx, &c); err != nil {
		return Entry{}, err
	}
	if change == Created {
		next, err := r.progress.nextGeneration(ctx, c.Name)
		if err != nil {
			return Entry{}, err
		}
		old.Generation = max(old.Generation, next)
	}
	next := old
	next.configure(c, contentOf(c, r.catalog), time.Now())
	if change == Created || old.Config.Quota != c.Quota || old.Config.Partitions != c.Partitions || old.Config.Window != c.Window {
		if err := r.reserve(ctx, c); err != nil {
			return Entry{}, err
		}
	}
	if err := r.applyStream(ctx, next); err != nil {
		return Entry{}, err
	}
	if c.From != nil && (change == Created || c.From.Keys != old.Config.From.Keys) {
		if err := r.beginFill(ctx, &next, change); err != nil {
			return Entry{}, err
		}
	}
	if change == Changed && (old.Gated || old.Config.Partitions != c.Partitions) {
		next, err = r.repartition(ctx, old, next)
	} else {
		next, err = r.store(ctx, next.stored(), max(expect, former.Revision))
	}
	if err == nil && change == Created {
		err = r.undoWithoutTopic(ctx, next)
	}
	if err != nil {
		return Entry{}, err
	}
	return next, r.EnsureFill(ctx, next)
}

// newID returns the id of a channel that is made. One whose entry was lost, but not
// its stream, keeps the id: the ledger has its records.
func (r *Registry) newID(ctx context.Context, name string) (string, error) {
	s, err := r.js.Stream(ctx, wire.UpdateStream(r.names, events.ToChannel(name)))
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return "", fmt.Errorf("channel %s: %w", name, err)
	}
	if err == nil {
		if id := s.CachedInfo().Config.Metadata[wire.MetadataChannelID]; id != "" {
			return id, nil
		}
	}
	return rand.Text()[:idLen], nil
}

// applyStream brings the stream of a channel up to its entry.
func (r *Registry) applyStream(ctx context.Context, e Entry) error {
	replicas, err := r.replicas(ctx)
	if err != nil {
		return err
	}
	lost := ""
	if e.Revision != 0 {
		lost = channelLoss(e.Config)
	}
	return r.applyOne(ctx, channelStream(r.names, e, replicas), lost, "channel "+e.Config.Name)
}

// applyOne makes a stream, or brings it up to what is wanted. lost says what a missing one
// held; "": it is new. whose is for errors.
func (r *Registry) applyOne(ctx context.Context, want jetstream.StreamConfig, lost, whose string) error {
	res := reservation{js: r.js, names: r.names, replicas: want.Replicas}
	p := part{want: want, bytes: want.MaxBytes}
	var err error
	if p.is, err = res.look(ctx, want.Name); err != nil {
		return fmt.Errorf("%s: %w", whose, err)
	}
	if p.is != nil {
		p.bytes = max(0, want.MaxBytes-p.is.MaxBytes)
	} else {
		p.lost = lost
	}
	res.parts = []part{p}
	if _, err := res.make(ctx); err != nil {
		return fmt.Errorf("%s: %w", whose, err)
	}
	return nil
}

// Repair brings the stream of a channel up to its entry, if somebody else has changed
// or removed it.
func (r *Registry) Repair(ctx context.Context, e Entry) error { return r.applyStream(ctx, e) }

func (r *Registry) store(ctx context.Context, s stored, expect uint64) (Entry, error) {
	s.Format = wire.Format
	revision, err := r.write(ctx, s.Config.Name, s, expect, "channel "+s.Config.Name)
	if err != nil {
		return Entry{}, err
	}
	return s.entry(revision, time.Now()), nil
}

// replicas returns on how many servers the registry lies: a channel's stream
// lies on as many.
func (r *Registry) replicas(ctx context.Context) (int, error) {
	var stream jetstream.Stream
	err := persist(ctx, func(ctx context.Context) (err error) {
		stream, err = r.js.Stream(ctx, wire.KVStream(wire.RegistryBucket(r.names)))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("read the registry's replicas: %w", err)
	}
	return max(1, stream.CachedInfo().Config.Replicas), nil
}

// Changes returns a channel that gets a value after something in the registry
// changed, until ctx ends, when it is closed. Values are merged; one is there at
// the start. It is a hint and may be lost: read the registry again from time to time
// as well. It listens to what the broker repeats of the bucket (wire.Heard), and
// needs no consumer.
func (r *Registry) Changes(ctx context.Context) (<-chan struct{}, error) {
	heard := make(chan *nats.Msg, 1024) // far more than come before one is taken out
	sub, err := r.js.Conn().ChanSubscribe(wire.Heard(r.names, wire.RegistryBucket(r.names)), heard)
	if err != nil {
		return nil, fmt.Errorf("listen to changes of channels: %w", err)
	}
	out := make(chan struct{}, 1)
	out <- struct{}{}
	go func() {
		defer close(out)
		defer func() { _ = sub.Unsubscribe() }() // the connection may be closed
		for {
			select {
			case <-ctx.Done():
				return
			case <-heard:
				select {
				case out <- struct{}{}:
				default:
				}
			}
		}
	}()
	return out, nil
}

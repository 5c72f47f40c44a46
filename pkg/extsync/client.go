package extsync

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// answerWithin bounds how long an answer to a stored message may take: it may have been
// lost with the server that gave it.
const answerWithin = 10 * time.Second

// A Client pushes updates and asks what became of them. It is safe for concurrent
// use; a process needs one.
type Client struct {
	js        jetstream.JetStream
	names     events.Names
	catalog   *connectors.Catalog
	publisher *publish.Publisher

	open context.Context //nolint:containedctx // ends with the client, and its calls with it
	end  context.CancelFunc
}

// ErrClosed says that the client was closed, before the call or in the middle of it: what
// was being pushed may be stored. No call of the client succeeds again.
var ErrClosed = errors.New("the client is closed")

// An Option changes how Connect connects.
type Option func(*options)

type options struct {
	nats    []nats.Option
	prefix  string
	kinds   *connectors.Catalog
	storage *channels.Storage
}

// WithNATS adds options of the NATS client, such as nats.UserCredentials,
// nats.RootCAs or nats.Name. One that Dial sets, too, wins over it.
func WithNATS(opts ...nats.Option) Option {
	return func(o *options) { o.nats = append(o.nats, opts...) }
}

// WithPrefix chooses among installations that share a broker. Without it the
// installation is the one of the prefix "sync".
func WithPrefix(prefix string) Option { return func(o *options) { o.prefix = prefix } }

// WithKinds lets the client register channels of these connector kinds;
// kinds.All, of pkg/connectors/kinds, has those of extsync.
func WithKinds(catalog *connectors.Catalog) Option { return func(o *options) { o.kinds = catalog } }

// WithStorage makes the streams of an installation if the broker has none, so large
// and so often as storage says; its zero value has defaults for one server. Streams
// that are there stay as they are. Without it such a broker is ErrNotProvisioned.
func WithStorage(storage channels.Storage) Option { return func(o *options) { o.storage = &storage } }

// Connect connects to the broker at url, or at one of several, separated by commas.
// It tries until ctx ends, or 5 s for each address. The errors: ErrConnect, ErrName
// for a prefix, and ErrNotProvisioned. The caller closes the client, which does not
// depend on ctx; while the broker is away its calls fail with ErrUnavailable, and
// when it is back they succeed again.
func Connect(ctx context.Context, url string, opts ...Option) (*Client, error) {
	o := options{prefix: events.DefaultPrefix}
	for _, opt := range opts {
		opt(&o)
	}
	names, err := events.NewNames(o.prefix)
	if err != nil {
		return nil, err
	}
	conn, err := Dial(ctx, url, o.nats...)
	if err != nil {
		return nil, err
	}
	c := &Client{names: names, catalog: o.kinds}
	c.open, c.end = context.WithCancel(context.WithoutCancel(ctx))
	if err := c.begin(ctx, conn, o.storage); err != nil {
		c.end()
		conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) begin(ctx context.Context, conn *nats.Conn, storage *channels.Storage) (err error) {
	if c.js, err = jetstream.New(conn, jetstream.WithPublishAsyncTimeout(answerWithin)); err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	c.publisher, err = publish.New(ctx, c.js, c.names)
	if !errors.Is(err, ErrNotProvisioned) {
		return err
	}
	if storage == nil {
		return fmt.Errorf("%w: run 'extsync channels apply' for a first channel, or connect with WithStorage", err)
	}
	if err := channels.Provision(ctx, c.js, c.names, *storage); err != nil {
		return err
	}
	c.publisher, err = publish.New(ctx, c.js, c.names)
	return err
}

// Close ends the connection, and calls that are under way with ErrClosed. What was pushed is
// stored and will be delivered.
func (c *Client) Close() {
	c.end()
	c.js.Conn().Close()
}

// call makes a call that ends with the client.
func (c *Client) call(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.open, cancel)()
	err := do(ctx)
	if err != nil && c.open.Err() != nil {
		return ErrClosed
	}
	return err
}

// Push stores an update; connector-workers deliver it: to its channel, or to all channels
// that read its topic. The receipt says whether the
// broker has stored it now or had it already: to push the same update again is safe,
// and what to do on ErrUnavailable. A refused update is a *Refusal, which wraps
// ErrStale or ErrConflict and says what the newest version is. The other errors:
// ErrInvalidUpdate, ErrTooLarge, ErrUnknownChannel, ErrUnknownTopic, ErrReadsTopic for a
// channel that reads a topic, ErrChannelDeleted, ErrFull, ErrBrokerFull, ErrBusy, ErrClosed,
// and ErrIncarnation, after which the client must be made anew. A ctx without a deadline gets 5 s.
func (c *Client) Push(ctx context.Context, u Update) (receipt Receipt, err error) {
	u = u.WithDefaults()
	if err := u.CheckPayload(); err != nil {
		return Receipt{}, err
	}
	err = c.call(ctx, func(ctx context.Context) (err error) {
		receipt, err = c.publisher.Publish(ctx, u)
		return err
	})
	return receipt, err
}

// PushAndWait pushes an update and waits until ctx ends for what becomes of it. An
// Ack is no error, whatever its Outcome: Delivered, Superseded by a newer version,
// Conflict at the target, or DeadLettered. On ErrNoAck the update is stored and will
// be delivered; Outcome tells later. The other errors are those of Push. An update of
// a topic is ErrInvalidUpdate: PushToTopic waits for it.
func (c *Client) PushAndWait(ctx context.Context, u Update) (ack Ack, err error) {
	if u.Topic != "" {
		return Ack{}, fmt.Errorf("%w: it goes to topic %s, of which each channel has an outcome of its own: PushToTopic waits for them", ErrInvalidUpdate, u.Topic)
	}
	u = u.WithDefaults()
	if err := u.CheckPayload(); err != nil {
		return Ack{}, err
	}
	err = c.call(ctx, func(ctx context.Context) (err error) {
		_, ack, err = c.publisher.Request(ctx, u)
		return err
	})
	return ack, err
}

// PushToTopic pushes an update of a topic and waits until ctx ends for what becomes of it in
// each channel that reads the topic at that time and takes the key: an Ack for each, in the
// order of the channels' names. None is no error: whoever reads the topic later gets the
// update. On ErrNoAck it is stored and will be delivered; the Ack of each channel that has no
// outcome yet has no Outcome, and Outcome, asked for the channel, tells later. The other
// errors are those of Push. An update without a topic is ErrInvalidUpdate.
func (c *Client) PushToTopic(ctx context.Context, u Update) (acks []Ack, err error) {
	if u.Topic == "" {
		return nil, fmt.Errorf("%w: it has no topic: PushAndWait waits for what goes to a channel", ErrInvalidUpdate)
	}
	u = u.WithDefaults()
	if err := u.CheckPayload(); err != nil {
		return nil, err
	}
	err = c.call(ctx, func(ctx context.Context) error {
		registry, err := channels.ReadRegistry(ctx, c.js, c.names)
		if err != nil {
			return err
		}
		takers, err := registry.Takers(ctx, u.Topic, u.Key)
		if err != nil {
			return err
		}
		_, acks, err = c.publisher.RequestTopic(ctx, u, takers)
		return err
	})
	return acks, err
}

// Outcome says what became of a version of a key, also after a restart and of what
// somebody else has pushed. Without an outcome it is ErrNoOutcome: the version was
// not pushed, or is still on its way, or ended just now: the ledger, which answers, is
// written up to half a second behind, and up to 5 s under load. A ctx without a deadline gets 5 s.
func (c *Client) Outcome(ctx context.Context, channel, key string, version Version) (ack Ack, err error) {
	err = c.call(ctx, func(ctx context.Context) (err error) {
		ack, err = c.publisher.Outcome(ctx, channel, key, tagOf(version))
		return err
	})
	return ack, err
}

// Acks returns the acks of updates whose ReplyTo is AckTo of the service, oldest
// first, and waits for more until ctx ends. They are kept for 24 hours while the
// service is away. An ack counts as handled when the loop asks for the next one; the
// one in hand when a process is killed comes again, and with it, half a minute later, those
// that the process had fetched. Several readers of one service
// share its acks. An ack that cannot be read comes as an error, and the loop goes on;
// any other error is the last thing that comes.
func (c *Client) Acks(ctx context.Context, service string) iter.Seq2[Ack, error] {
	return publish.ServiceAcks(ctx, c.js, c.names, service)
}

// AckTo returns the ReplyTo of an update whose ack is to be kept for a service. id is
// for the service to tell its acks apart. Both have letters, digits, '_', '=' and '-',
// else the error is ErrName.
func (c *Client) AckTo(service, id string) (string, error) { return c.names.ServiceAck(service, id) }

package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
	"github.com/hms-utl/extsync/pkg/why"
)

// A Lookup says what to tell of a key.
type Lookup struct {
	Key string
	// Channel is the one to look at; "" for all that Allows lets through. Allows nil lets
	// every channel through.
	Channel string
	Allows  func(channel string) bool
	// AllowsTopic is Allows for topics, which are looked at if no channel is named.
	AllowsTopic func(topic string) bool
	// Timeline is how many entries of the outcome log to add for each channel: 0 to
	// wire.MaxHistory.
	Timeline int
}

// Found is where a key is, in each channel that was asked for.
type Found struct {
	Key string `json:"key"`
	// Topics that hold the key, with the version that the platform wants its channels to have.
	Topics   []Wanted      `json:"topics,omitempty" doc:"Those that hold the key: what the channels that read them are to hold. In the order of names; if no channel was named"`
	Channels []Whereabouts `json:"channels" doc:"In the order of names. A channel that does not know the key says absent"`
	LeftOut  int           `json:"left_out,omitempty" doc:"How many channels are not listed, where there are more than 200: first those that do not know the key"`
}

// timelineTime bounds the look into the log, which has no index by key, for timelinesAtOnce
// channels side by side.
const (
	timelineTime    = 5 * time.Second
	timelinesAtOnce = 4
)

// Look tells where a key is. It fails as Find does.
func (c *Client) Look(ctx context.Context, l Lookup) (Found, error) {
	out := Found{Key: l.Key, Channels: []Whereabouts{}}
	var err error
	if l.Channel == "" {
		if out.Topics, err = c.wanted(ctx, l); err != nil {
			return out, err
		}
	}
	found, err := c.findAllowed(ctx, l)
	if err != nil && (len(out.Topics) == 0 || !errors.Is(err, ErrUnknownKey)) {
		return out, err
	}
	out.Channels = append(out.Channels, found...)
	if l.Timeline == 0 {
		return out, nil // a key that only a topic knows is no error
	}
	return out, c.addTimelines(ctx, &out, l.Timeline)
}

func (c *Client) addTimelines(ctx context.Context, f *Found, most int) error {
	ctx, cancel := context.WithTimeout(ctx, timelineTime)
	defer cancel()
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(timelinesAtOnce)
	for i := range f.Channels {
		w := &f.Channels[i]
		if w.State == StateAbsent {
			continue
		}
		group.Go(func() error {
			line, err := wire.History(gctx, c.JS, c.Names, w.Channel, f.Key, most)
			w.Timeline = &line
			return err
		})
	}
	return group.Wait()
}

// Bound leaves out channels where there are more than most: first those that do not know the key.
func (f *Found) Bound(most int) {
	n := len(f.Channels)
	if n > most {
		f.Channels = slices.DeleteFunc(f.Channels, func(w Whereabouts) bool { return w.State == StateAbsent })
		f.Channels = f.Channels[:min(len(f.Channels), most)]
	}
	f.LeftOut = n - len(f.Channels)
}

// Find tells where a key is, in one channel or, with channel "", in all of
// them. It fails with channels.ErrNotFound, or with ErrUnknownKey when the key
// is absent everywhere.
func (c *Client) Find(ctx context.Context, key, channel string) ([]Whereabouts, error) {
	return c.findAllowed(ctx, Lookup{Key: key, Channel: channel})
}

func (c *Client) findAllowed(ctx context.Context, l Lookup) ([]Whereabouts, error) {
	key := l.Key
	if _, err := events.EncodeKey(key); err != nil {
		return nil, fmt.Errorf("%w: key: %w", events.ErrInvalidUpdate, err)
	}
	entries, err := c.channels(ctx, l.Channel)
	if err != nil {
		return nil, err
	}
	if l.Allows != nil {
		entries = slices.DeleteFunc(entries, func(e channels.Entry) bool { return !l.Allows(e.Config.Name) })
	}
	records, err := c.Records(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Whereabouts, len(entries))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lookAtOnce)
	for i, e := range entries {
		group.Go(func() error {
			err := c.ForChannel(ctx, e.Config.Name, func(ctx context.Context) (err error) {
				out[i], err = c.find(ctx, records, e, key)
				return err
			})
			if err != nil {
				return fmt.Errorf("channel %s: %w", e.Config.Name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := known(out, key); err != nil {
		return out, notTaken(err, entries, key)
	}
	return out, nil
}

// notTaken says of a key that one channel does not take why it is unknown there.
func notTaken(err error, entries []channels.Entry, key string) error {
	if len(entries) != 1 || entries[0].Config.Takes(key) {
		return err
	}
	cfg := &entries[0].Config
	return fmt.Errorf("%w: channel %s takes only keys of topic %s that begin with %q (from.keys)", ErrUnknownKey, cfg.Name, cfg.From.Topic, cfg.From.Keys)
}

// known fails with ErrUnknownKey if a key is absent everywhere.
func known(found []Whereabouts, key string) error {
	if slices.ContainsFunc(found, func(w Whereabouts) bool { return w.State != StateAbsent }) {
		return nil
	}
	return fmt.Errorf("%w: nothing was published for %q", ErrUnknownKey, key)
}

// channels returns one channel, or all of them.
func (c *Client) channels(ctx context.Context, channel string) ([]channels.Entry, error) {
	registry, err := c.Registry(ctx)
	if err != nil {
		return nil, err
	}
	if channel != "" {
		e, err := registry.Get(ctx, channel)
		return []channels.Entry{e}, err
	}
	return registry.List(ctx)
}

// find reads the stream first, then the ledger: read the other way round, a
// version could be settled between the two reads and be seen in neither.
func (c *Client) find(ctx context.Context, records *Records, e channels.Entry, key string) (Whereabouts, error) {
	w := Whereabouts{Channel: e.Config.Name, Key: key, State: StateAbsent}
	if !e.Config.Takes(key) {
		return w, nil
	}
	head, malformed, err := c.head(ctx, e.Config.Route(), key)
	if err != nil {
		return w, err
	}
	rec, err := records.Get(ctx, e, key)
	if err != nil {
		return w, err
	}
	if malformed != nil {
		w.State, w.Newest.At = StateMalformed, head.At
		w.Error = &events.Failure{Message: malformed.Error()}
	}
	w.describe(head, rec)
	facts := standing.Facts{
		Entry: e, Head: versioning.Tag{Version: head.Version, Digest: head.Digest}, Published: head.At, Malformed: malformed, Record: rec,
	}
	if facts.Waits() {
		look := standing.Looker{JS: c.JS, Names: c.Names}
		if facts.Held, err = look.Held(ctx, e, key, w.Newest.At); err != nil {
			return w, err
		}
	}
	w.stands(facts)
	w.forget(time.Now())
	return w, nil
}

// Why says why a version of a key has no outcome that counts, at once: it is asked when
// somebody has waited long enough. nil: it has, or it cannot be found out.
func (c *Client) Why(ctx context.Context, channel, key string, version versioning.Version) *why.Reason {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), whyTimeout)
	defer cancel()
	return c.why(ctx, channel, key, version)
}

func (c *Client) why(ctx context.Context, channel, key string, version versioning.Version) *why.Reason {
	found, err := c.Find(ctx, key, channel)
	if err != nil || len(found) == 0 {
		return nil
	}
	w := &found[0]
	switch order, err := version.Compare(w.Newest.Version); {
	case err == nil && order < 0:
		return w.Overtaken(version, w.Newest.Version)
	case err == nil && order > 0:
		return nil // it was not published yet: what holds the newest back is not its reason
	}
	return w.Why
}

// whyTimeout bounds Why.
const whyTimeout = 3 * time.Second

// head returns the last update in a route's stream; the zero Copy if the
// stream holds none of the key, and why it cannot be read, if it cannot.
func (c *Client) head(ctx context.Context, r events.Route, key string) (head Copy, malformed, err error) {
	msg, err := c.lastOf(ctx, r, key)
	if err != nil || msg == nil {
		return Copy{}, nil, err
	}
	u, malformed := wire.Decode(c.Names, msg.Subject, msg.Header, msg.Data)
	if malformed != nil {
		return Copy{At: msg.Time}, malformed, nil
	}
	return Copy{Version: u.Version, Digest: u.Digest(), Op: u.Op, At: msg.Time}, nil, nil
}

// lastOf returns the last message of a key in a route's stream; nil if the stream holds none
// that counts.
func (c *Client) lastOf(ctx context.Context, r events.Route, key string) (*jetstream.RawStreamMsg, error) {
	enc, err := events.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	stream, err := c.JS.Stream(ctx, wire.UpdateStream(c.Names, r))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("%w: the stream of %s is missing", channels.ErrNotFound, r)
	}
	if err != nil {
		return nil, err
	}
	msg, err := wire.ReadLast(ctx, c.JS, stream, wire.StoredUpdate(c.Names, r, enc))
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && wire.IsReset(msg.Header) {
		return nil, nil //nolint:nilnil // there is none
	}
	return msg, err
}

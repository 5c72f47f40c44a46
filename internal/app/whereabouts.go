package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// ErrUnknownKey says that no channel that was asked for knows the key.
var ErrUnknownKey = errors.New("unknown key")

// The states of a key in a channel that are not an outcome or a ledger state.
const (
	StateAbsent    = "absent"    // nothing was ever published
	StatePending   = "pending"   // published, not tried yet
	StateMalformed = "malformed" // what is published cannot be read
)

// Whereabouts is where a key's newest update is in one channel.
type Whereabouts struct {
	Channel string `json:"channel"`
	// State is an outcome of Newest (delivered, superseded, conflict,
	// dead_lettered), retrying or parked, or one of the states above.
	State string `json:"state"`
	// Newest is the head: the newest version that was published.
	Newest Copy `json:"newest,omitzero"`
	// Target is what the target holds through extsync.
	Target Copy `json:"target,omitzero"`
	// Attempts that the newest, or the one that is being retried, has spent.
	Attempts    int             `json:"attempts,omitempty"`
	Error       *events.Failure `json:"error,omitempty"` // why the last attempt failed
	NextAttempt time.Time       `json:"next_attempt,omitzero"`
}

// A Copy is one version of a key at one place.
type Copy struct {
	Version versioning.Version `json:"version"`
	Digest  versioning.Digest  `json:"digest,omitzero"`
	Op      events.Op          `json:"op,omitempty"`
	At      time.Time          `json:"at,omitzero"` // published, or delivered
}

// Find tells where a key is, in one channel or, with channel "", in all of
// them. It fails with channels.ErrNotFound, or with ErrUnknownKey when the key
// is absent everywhere.
func (c *Client) Find(ctx context.Context, key, channel string) ([]Whereabouts, error) {
	if _, err := events.EncodeKey(key); err != nil {
		return nil, fmt.Errorf("%w: key: %w", events.ErrInvalidUpdate, err)
	}
	names, err := c.channelNames(ctx, channel)
	if err != nil {
		return nil, err
	}
	ledger, err := events.OpenLedger(ctx, c.JS, c.Names)
	if err != nil {
		return nil, err
	}
	found := false
	out := make([]Whereabouts, 0, len(names))
	for _, name := range names {
		w, err := c.find(ctx, ledger, name, key)
		if err != nil {
			return nil, fmt.Errorf("channel %s: %w", name, err)
		}
		found = found || w.State != StateAbsent
		out = append(out, w)
	}
	if !found {
		return nil, fmt.Errorf("%w: nothing was published for %q", ErrUnknownKey, key)
	}
	return out, nil
}

func (c *Client) channelNames(ctx context.Context, channel string) ([]string, error) {
	registry, err := c.Registry(ctx)
	if err != nil {
		return nil, err
	}
	if channel != "" {
		_, err := registry.Get(ctx, channel)
		return []string{channel}, err
	}
	entries, err := registry.List(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Config.Name
	}
	return names, nil
}

// find reads the stream first, then the ledger: read the other way round, a
// version could be settled between the two reads and be seen in neither.
func (c *Client) find(ctx context.Context, ledger *events.Ledger, channel, key string) (Whereabouts, error) {
	w := Whereabouts{Channel: channel, State: StateAbsent}
	head, malformed, err := c.head(ctx, channel, key)
	if err != nil {
		return w, err
	}
	rec, err := ledger.Get(ctx, channel, key)
	if err != nil && !errors.Is(err, events.ErrNoRecord) {
		return w, err
	}
	if malformed != nil {
		w.State, w.Newest.At = StateMalformed, head.At
		w.Error = &events.Failure{Message: malformed.Error()}
	}
	w.describe(head, rec)
	return w, nil
}

// head returns the last update in the channel's stream; the zero Copy if the
// stream holds none of the key, and why it cannot be read, if it cannot.
func (c *Client) head(ctx context.Context, channel, key string) (head Copy, malformed, err error) {
	enc, err := events.EncodeKey(key)
	if err != nil {
		return Copy{}, nil, err
	}
	stream, err := c.JS.Stream(ctx, c.Names.UpdateStream(channel))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return Copy{}, nil, fmt.Errorf("%w: its stream is missing", channels.ErrNotFound)
	}
	if err != nil {
		return Copy{}, nil, err
	}
	msg, err := stream.GetLastMsgForSubject(ctx, c.Names.StoredUpdate(channel, enc))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Copy{}, nil, nil
	}
	if err != nil {
		return Copy{}, nil, err
	}
	u, malformed := events.Decode(c.Names, msg.Subject, msg.Header, msg.Data)
	if malformed != nil {
		return Copy{At: msg.Time}, malformed, nil
	}
	return Copy{Version: u.Version, Digest: u.Digest(), Op: u.Op, At: msg.Time}, nil, nil
}

// describe fills in the answer from the head and the ledger's record.
func (w *Whereabouts) describe(head Copy, rec events.Record) {
	w.Target = Copy{Version: rec.Applied.Version, Digest: rec.Applied.Digest, Op: rec.Applied.Op, At: rec.Applied.At}
	switch {
	case w.State == StateMalformed:
		return
	case !head.Version.IsZero():
		w.Newest = head
	case !rec.Settled.IsZero():
		w.Newest = Copy{Version: rec.Settled.Version, Digest: rec.Settled.Digest}
		if rec.Settled == rec.Applied.Tag {
			w.Newest.Op = rec.Applied.Op
		}
	default:
		return
	}
	newest := versioning.Tag{Version: w.Newest.Version, Digest: w.Newest.Digest}
	if s, ok := rec.OutcomeOf(newest); ok {
		w.State, w.Attempts = string(s.Outcome), s.Attempts
		if s.Outcome != events.Delivered {
			w.Error = &events.Failure{Class: s.Class, Code: s.Code, Message: s.Message}
		}
		return
	}
	w.State = StatePending
	if rec.State == events.StateRetrying || rec.State == events.StateParked {
		w.State, w.Attempts = string(rec.State), rec.Attempts
		w.NextAttempt, w.Error = rec.NextAttempt, rec.Error
	}
}

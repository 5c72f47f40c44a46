package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
	"github.com/hms-utl/extsync/pkg/why"
)

// ErrUnknownKey says that no channel that was asked for knows the key.
var ErrUnknownKey = errors.New("unknown key")

// The states of a key in a channel that are not an outcome or a ledger state.
const (
	StateAbsent    = "absent"    // nothing was ever published
	StatePending   = "pending"   // published, not tried yet
	StateMalformed = "malformed" // what is published cannot be read
	StateFiltered  = "filtered"  // kept back by the channel's filter: the outcome is delivered, and nothing was sent
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
	Attempts int             `json:"attempts,omitempty"`
	Error    *events.Failure `json:"error,omitempty"` // why the last attempt failed
	// NextAttempt is never before now: zero if it is due, or not known. While the
	// channel's circuit is not closed it is that of the next probe, for which the key
	// waits.
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	// Why the newest version does not move while it has no outcome, and at which
	// worker; else, why the target does not hold what the channel's configuration makes of
	// it. nil if nothing is known to hold it back.
	Why *why.Reason `json:"why,omitempty"`
}

// Waits reports whether the newest version has no outcome yet.
func (w *Whereabouts) Waits() bool {
	return w.State == StatePending || w.State == string(events.Retrying) || w.State == string(events.Parked)
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
	entries, err := c.channels(ctx, channel)
	if err != nil {
		return nil, err
	}
	records, err := c.Records(ctx)
	if err != nil {
		return nil, err
	}
	found := false
	out := make([]Whereabouts, 0, len(entries))
	for _, e := range entries {
		w, err := c.find(ctx, records, e, key)
		if err != nil {
			return nil, fmt.Errorf("channel %s: %w", e.Config.Name, err)
		}
		found = found || w.State != StateAbsent
		out = append(out, w)
	}
	if !found {
		return nil, fmt.Errorf("%w: nothing was published for %q", ErrUnknownKey, key)
	}
	return out, nil
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
	w := Whereabouts{Channel: e.Config.Name, State: StateAbsent}
	head, malformed, err := c.head(ctx, e.Config.Name, key)
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
	if w.Waits() {
		if w.Why, err = c.why(ctx, e, key, w.Newest.At); err != nil {
			return w, err
		}
		if w.Why != nil && w.Why.Code.Probed() {
			w.NextAttempt = w.Why.Next
		}
	} else {
		w.Why = standing.Remade(e, &rec)
	}
	if !w.NextAttempt.After(time.Now()) {
		w.NextAttempt = time.Time{}
	}
	return w, nil
}

func (c *Client) why(ctx context.Context, e channels.Entry, key string, published time.Time) (*why.Reason, error) {
	look := standing.Looker{JS: c.JS, Names: c.Names}
	return look.Key(ctx, e, key, published)
}

// Why says why an update of a key has no outcome yet, at once: it is asked when
// somebody has waited long enough. nil: nothing is known to hold it back, or it cannot
// be found out.
func (c *Client) Why(ctx context.Context, channel, key string) *why.Reason {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), whyTimeout)
	defer cancel()
	found, err := c.Find(ctx, key, channel)
	if err != nil || len(found) == 0 {
		return nil
	}
	return found[0].Why
}

// whyTimeout bounds Why.
const whyTimeout = 3 * time.Second

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
	msg, err := events.ReadLast(ctx, c.JS, stream, c.Names.StoredUpdate(channel, enc))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Copy{}, nil, nil
	}
	if err != nil {
		return Copy{}, nil, err
	}
	if events.IsReset(msg.Header) {
		return Copy{}, nil, nil
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
	known := rec.Newest()
	behind, _ := head.Version.Compare(known.Version) // in a work queue the last message may be older
	switch {
	case w.State == StateMalformed:
		return
	case !head.Version.IsZero() && behind >= 0:
		w.Newest = head
	case !known.IsZero():
		w.Newest = Copy{Version: known.Version, Digest: known.Digest}
		if known == rec.Applied.Tag {
			w.Newest.Op = rec.Applied.Op
		}
	default:
		return
	}
	newest := versioning.Tag{Version: w.Newest.Version, Digest: w.Newest.Digest}
	if s, ok := rec.OutcomeOf(newest); ok {
		w.State, w.Attempts = string(s.Outcome), s.Attempts
		if s.Outcome == events.Delivered && s.Code == events.CodeFiltered {
			w.State = StateFiltered
		}
		if s.Outcome != events.Delivered {
			w.Error = s.Failure()
		}
		return
	}
	w.State = StatePending
	if rec.State == events.StateRetrying || rec.State == events.StateParked {
		w.State, w.Attempts = string(rec.State), rec.Attempts
		w.NextAttempt, w.Error = rec.NextAttempt, rec.Error
	}
}

package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
	"github.com/hms-utl/extsync/pkg/why"
)

const (
	// arrivalQuiet is how long none of the keys may arrive before all that are left are looked
	// at: what the broker says to listeners can be lost, and the ledger is up to 5 s behind. It
	// doubles, up to arrivalQuietMost, while such looks find nothing.
	arrivalQuiet     = 5 * time.Second
	arrivalQuietMost = time.Minute
	arrivalTell      = 500 * time.Millisecond // between two reports of progress
	arrivalAtOnce    = 64                     // questions to the ledger on their way
	// arrivalExamples is how many keys are named that were given up.
	arrivalExamples = 10
)

// An arrival is what is known of a key that somebody waits for.
type arrival struct {
	want  versioning.Version // zero: no version of the key was taken yet
	ended ending
	heard bool // its record has changed since the last line of the key was sent
}

// An ending is what became of the version that is waited for.
type ending uint8

const (
	notEnded ending = iota // it has no outcome that counts
	endedDelivered
	endedFiltered
	endedSuperseded
	endedFailed
)

// Arrived counts the keys that were waited for, by what became of the newest version of
// each. A newer version of somebody else counts, too.
type Arrived struct {
	Keys       int64 `json:"keys"`
	Delivered  int64 `json:"delivered"`
	Filtered   int64 `json:"filtered"`   // the channel's filter kept it back
	Superseded int64 `json:"superseded"` // the target holds a newer one
	Failed     int64 `json:"failed"`     // it was given up
	Open       int64 `json:"open"`       // it has no outcome yet
	// Failures are some of those that failed, in the order of keys.
	Failures []events.Ack `json:"failures,omitempty"`
	// Waiting is one that is open, and Why what holds it back, if that is known.
	Waiting string      `json:"waiting,omitempty"`
	Why     *why.Reason `json:"why,omitempty"`
}

// Arrivals follow what becomes of many keys of a channel. They hear what is written of them,
// and ask for the records of those only of which they may have heard nothing.
type Arrivals struct {
	c      *Client
	entry  channels.Entry
	ledger *wire.Ledger
	sub    *nats.Subscription
	moved  chan struct{} // a key has arrived

	mu   sync.Mutex
	keys map[string]arrival // by encoded key
	ask  []string           // encoded keys whose record has to be read
	open int64
	done int64
}

// Follow begins to listen. The caller closes the Arrivals.
func (c *Client) Follow(ctx context.Context, channel string) (*Arrivals, error) {
	entries, err := c.channels(ctx, channel)
	if err != nil {
		return nil, err
	}
	a := &Arrivals{c: c, entry: entries[0], moved: make(chan struct{}, 1), keys: map[string]arrival{}}
	if a.ledger, err = wire.OpenLedger(ctx, c.JS, c.Names); err != nil {
		return nil, err
	}
	if a.sub, err = c.Conn.Subscribe(wire.LedgerRecords(c.Names, channel), a.hear); err != nil {
		return nil, fmt.Errorf("listen for outcomes: %w", err)
	}
	return a, nil
}

// Close ends the listening.
func (a *Arrivals) Close() { _ = a.sub.Unsubscribe() } // fails only with the connection

// Sent says that a version of a key is about to be published.
func (a *Arrivals) Sent(key string) {
	enc, err := events.EncodeKey(key)
	if err != nil {
		return // it is not published
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	k := a.keys[enc]
	k.heard = false
	a.keys[enc] = k
}

// Taken says that the broker has a version that was sent: old, if it had it, or a newer one,
// before.
func (a *Arrivals) Taken(key string, version versioning.Version, old bool) {
	enc, err := events.EncodeKey(key)
	if err != nil {
		return // it was not published
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	k := a.keys[enc]
	if order, err := version.Compare(k.want); !k.want.IsZero() && (err != nil || order <= 0) {
		return
	}
	switch {
	case k.want.IsZero():
		a.open++
	case k.ended != notEnded:
		a.open, a.done = a.open+1, a.done-1
	}
	k.want, k.ended = version, notEnded
	a.keys[enc] = k
	if old || k.heard {
		a.ask = append(a.ask, enc)
	}
}

// hear takes what is written to the ledger.
func (a *Arrivals) hear(msg *nats.Msg) {
	enc := wire.KeyOfSubject(msg.Subject)
	a.mu.Lock()
	_, ours := a.keys[enc]
	a.mu.Unlock()
	if !ours || len(msg.Data) == 0 {
		return
	}
	rec, err := wire.DecodeRecord(msg.Data)
	if err != nil || rec.ChannelID != a.entry.ID { // a look says what is wrong
		return
	}
	a.note(enc, &rec)
}

// note takes what a record says of a key.
func (a *Arrivals) note(enc string, rec *wire.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	k := a.keys[enc]
	k.heard = true
	if k.ended == notEnded && !k.want.IsZero() {
		if w, ok := waited(a.entry.Config.Name, rec, k.want); ok {
			k.ended = endingOf(w)
			a.open, a.done = a.open-1, a.done+1
			select {
			case a.moved <- struct{}{}:
			default:
			}
		}
	}
	a.keys[enc] = k
}

func endingOf(w Waited) ending {
	switch {
	case w.Newest != nil && w.Newest.Outcome != events.Delivered:
		return endedFailed
	case w.Outcome == events.Superseded:
		return endedSuperseded
	case w.Outcome == events.Delivered && (w.Code == events.CodeFiltered || w.Code == events.CodeRemoved):
		return endedFiltered
	case w.Outcome == events.Delivered:
		return endedDelivered
	default:
		return endedFailed
	}
}

// Wait returns when every version that was taken has an outcome, as Client.Wait says, or with
// the error of ctx. Progress is told now and then how many have, and waits each time that the
// broker does not answer.
func (a *Arrivals) Wait(ctx context.Context, progress func(done, all int64), waits func(why error)) error {
	err := a.wait(ctx, progress, waits)
	if ctx.Err() != nil && !a.c.Conn.IsConnected() {
		return fmt.Errorf("%w: the connection to the broker is lost: %w", events.ErrUnavailable, ctx.Err())
	}
	return err
}

func (a *Arrivals) wait(ctx context.Context, progress func(done, all int64), waits func(why error)) error {
	tell := time.NewTicker(arrivalTell)
	defer tell.Stop()
	quiet := arrivalQuiet
	look := time.NewTimer(0) // at once: for what was there before
	defer look.Stop()
	for first := true; ; {
		open, done := a.count()
		progress(done, open+done)
		if open == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tell.C:
		case <-look.C:
			err := a.look(ctx, !first)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case wire.IsUnavailable(err):
				waits(err)
			case err != nil:
				return err
			default:
				first = false
			}
			if left, _ := a.count(); left == open {
				quiet = min(2*quiet, arrivalQuietMost)
			}
			look.Reset(quiet)
		case <-a.moved:
			quiet = arrivalQuiet
			if !first {
				look.Reset(quiet)
			}
			select { // a burst is one move
			case <-ctx.Done():
			case <-tell.C:
			}
		}
	}
}

func (a *Arrivals) count() (open, done int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.open, a.done
}

// look reads the records of keys that are to be asked for, or of all that are open.
func (a *Arrivals) look(ctx context.Context, all bool) error {
	a.mu.Lock()
	ask := slices.Clone(a.ask)
	if all {
		ask = ask[:0]
		for enc, k := range a.keys {
			if k.ended == notEnded && !k.want.IsZero() {
				ask = append(ask, enc)
			}
		}
	}
	a.mu.Unlock()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(arrivalAtOnce)
	for _, enc := range ask {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			rec, err := a.record(ctx, enc)
			if err == nil {
				a.note(enc, &rec)
			}
			return err
		})
	}
	return group.Wait()
}

// record returns the record of a key; the zero Record if there is none.
func (a *Arrivals) record(ctx context.Context, enc string) (wire.Record, error) {
	rec, err := a.ledger.GetOf(ctx, a.entry.Config.Name, a.entry.ID, enc)
	if errors.Is(err, events.ErrNoRecord) {
		return wire.Record{}, nil
	}
	return rec.Record, err
}

// Arrived counts what has arrived by now. It asks the broker for the reasons of some failures,
// and what holds one of the open keys back.
func (a *Arrivals) Arrived(ctx context.Context) Arrived {
	var out Arrived
	var failed []string
	open := ""
	a.mu.Lock()
	for enc, k := range a.keys {
		if k.want.IsZero() {
			continue
		}
		out.Keys++
		switch k.ended {
		case endedDelivered:
			out.Delivered++
		case endedFiltered:
			out.Filtered++
		case endedSuperseded:
			out.Superseded++
		case endedFailed:
			out.Failed++
			failed = append(failed, enc)
		default:
			out.Open++
			if open == "" || enc < open {
				open = enc
			}
		}
	}
	want := a.keys[open].want
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), whyTimeout)
	defer cancel()
	slices.Sort(failed)
	for _, enc := range failed[:min(len(failed), arrivalExamples)] {
		if rec, err := a.record(ctx, enc); err == nil {
			out.Failures = append(out.Failures, a.failure(enc, &rec))
		}
	}
	if open != "" {
		if key, err := events.DecodeKey(open); err == nil {
			out.Waiting, out.Why = key, a.c.Why(ctx, a.entry.Config.Name, key, want)
		}
	}
	return out
}

// failure returns what has ended a key.
func (a *Arrivals) failure(enc string, rec *wire.Record) events.Ack {
	a.mu.Lock()
	want := a.keys[enc].want
	a.mu.Unlock()
	w, _ := waited(a.entry.Config.Name, rec, want)
	if w.Newest != nil {
		return *w.Newest
	}
	return w.Ack
}

package faults

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// A Logged is an entry of the outcome log with where it stands.
type Logged struct {
	wire.Entry
	Seq    uint64 // of its group
	Worker string
}

// Outcomes is what the outcome log says of one channel.
type Outcomes struct {
	Entries []Logged // in the order of the log
	// Records are what the entries add up to, by key.
	Records map[string]*wire.Record
	// Ledger are the records that the ledger holds, by key. nil: it was not read.
	Ledger map[string]wire.Record
}

// Add takes the next group of the log.
func (o *Outcomes) Add(g wire.Group, at wire.LogPosition) {
	if o.Records == nil {
		o.Records = map[string]*wire.Record{}
	}
	for _, e := range g.Entries {
		o.Entries = append(o.Entries, Logged{Entry: e, Seq: at.Seq, Worker: g.Worker})
		if e.Version.IsZero() {
			continue // malformed: it has a record of its own kind, but no place in the ledger
		}
		rec := o.Records[e.Key]
		if rec == nil {
			rec = &wire.Record{}
			o.Records[e.Key] = rec
		}
		rec.Add(e, at)
	}
}

// Settled reports whether the log knows what became of an update.
func (o *Outcomes) Settled(a Accepted) bool {
	rec := o.Records[a.Key]
	if rec == nil {
		return false
	}
	_, ok := rec.OutcomeOf(a.Tag)
	return ok
}

// A LogReader reads the outcome log of one channel from its beginning. It is for
// one goroutine.
type LogReader struct {
	Outcomes
	js      jetstream.JetStream
	names   events.Names
	channel string
	next    uint64
}

// NewLogReader returns a reader that has read nothing yet.
func NewLogReader(js jetstream.JetStream, names events.Names, channel string) *LogReader {
	return &LogReader{js: js, names: names, channel: channel, next: 1}
}

// CatchUp reads what has come since the last time. It asks for one record after
// the other, so that no broken subscription can hide any.
func (r *LogReader) CatchUp(ctx context.Context) error {
	stream, err := r.js.Stream(ctx, wire.OutcomeStream(r.names))
	if err != nil {
		return fmt.Errorf("outcome log: %w", err)
	}
	for {
		msg, err := stream.GetMsg(ctx, r.next, jetstream.WithGetMsgSubject(wire.OutcomesOf(r.names, r.channel)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("outcome log: %w", err)
		}
		group, err := wire.DecodeGroup(msg.Data)
		if err != nil {
			return err
		}
		at, err := wire.OutcomePosition(r.names, msg.Subject, msg.Sequence)
		if err != nil {
			return err
		}
		r.Add(group, at)
		r.next = msg.Sequence + 1
	}
}

// Await reads on until the log has an outcome for each of these updates, or ctx
// ends. The error says how many are missing, and names one.
func (r *LogReader) Await(ctx context.Context, accepted []Accepted) error {
	missing := accepted
	var last error
	for {
		if last = r.CatchUp(ctx); last == nil {
			var left []Accepted
			for _, a := range missing {
				if !a.Uncertain && !r.Settled(a) {
					left = append(left, a)
				}
			}
			if missing = left; len(missing) == 0 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			if len(missing) == 0 {
				return fmt.Errorf("outcome log: %w", errors.Join(ctx.Err(), last))
			}
			return fmt.Errorf("%d updates have no outcome, one of them key %s version %s: %w",
				len(missing), missing[0].Key, missing[0].Version, errors.Join(ctx.Err(), last))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// ReadLedger reads the ledger's record of every key that the log names.
func (r *LogReader) ReadLedger(ctx context.Context) error {
	ledger, err := wire.OpenLedger(ctx, r.js, r.names)
	if err != nil {
		return err
	}
	r.Ledger = make(map[string]wire.Record, len(r.Records))
	for key := range r.Records {
		rec, err := ledger.Get(ctx, r.channel, key)
		if errors.Is(err, events.ErrNoRecord) {
			continue // for Check to say
		}
		if err != nil {
			return err
		}
		r.Ledger[key] = rec
	}
	return nil
}

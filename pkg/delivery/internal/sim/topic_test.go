package sim_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/sim"
	"github.com/hms-utl/extsync/pkg/events"
)

// Where updates are published to a topic, two channels read it, each with a target of its
// own. Both are judged by the same accepted updates.

// topic is what they read.
const topic = "everything"

// hasTopic reports whether the history of a seed has a topic: one in five. Those seeds that
// are in the code have none, and their histories stay as they were.
func hasTopic(seed uint64) bool { return seed%5 == 1 }

// second is the other channel that reads the topic.
type second struct {
	config channels.Config
	temper temper
	after  int // so many happenings it is made; -1: from the beginning
}

// drawTopic has the plan's channel read a topic, and another one with it.
func (p *plan) drawTopic(seed uint64) {
	dice := rand.New(rand.NewPCG(sim.Hash(seed, "topic"), 0)) //nolint:gosec // reproducible on purpose
	p.config.Mode, p.config.From = channels.Latest, &channels.From{Topic: topic}
	other := drawPlan(dice)
	other.config.Name, other.config.Connector.Kind, other.config.Mode = "second", "second", channels.Latest
	other.config.Partitions = 5 - p.config.Partitions
	other.config.From = &channels.From{Topic: topic, Keys: pick(dice, "", ordinary, keyOf(1), keyOf(1), keyOf(2), "m", "h", "r")}
	other.temper.guarded = other.temper.guarded || p.older
	other.temper.objects = dice.IntN(3) == 0
	if dice.IntN(2) == 0 { // what is wrong with an update is wrong at both targets
		p.temper.sick[keyOf(dice.IntN(p.keys))] = span{0, p.length}
		other.temper.sick = p.temper.sick
	}
	p.second = second{config: other.config, temper: other.temper, after: -1}
	if !p.older && dice.IntN(3) == 0 { // else it could have delivered what the platform never hears of
		p.second.after = dice.IntN(p.happenings + 1)
	}
}

// A reader is a channel: of a topic, or the one that has publishers of its own.
type reader struct {
	name, kind string
	config     channels.Config
	target     *target
	sentAgain  bool // updates may have one more outcome each
}

func newReader(c channels.Config, t temper, seed uint64) *reader {
	return &reader{name: c.Name, kind: c.Connector.Kind, config: c, target: newTarget(seed, t)}
}

// anyReader returns one that is there. It throws no dice where there is but one.
func (w *world) anyReader(dice *rand.Rand) *reader {
	readers := w.present()
	if len(readers) == 1 {
		return readers[0]
	}
	return pick(dice, readers...)
}

func (w *world) present() []*reader {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.readers
}

// arrivals makes the channel that comes after n happenings.
func (w *world) arrivals(n int) {
	for _, r := range w.later {
		if w.plan.second.after != n {
			return
		}
		w.note("channel %s is made", r.name)
		testkit.Must(w.t, w.await(time.Minute, time.Second, func() error {
			if e, err := w.registry.Get(context.Background(), r.name); err == nil && e.Revision > 0 {
				return nil // the answer was lost
			}
			_, err := w.registry.Put(context.Background(), r.config, 0)
			return err
		}))
		w.mu.Lock()
		w.readers = append(w.readers[:len(w.readers):len(w.readers)], r)
		w.mu.Unlock()
	}
	w.later = nil
}

// toTopics are what happens besides where there is a topic.
var toTopics = []happening{ //nolint:gochecknoglobals // a constant
	{"fill the topic", nil, func(w *world, _ int, while time.Duration) {
		stream := wire.UpdateStream(w.names, w.route)
		w.broker.Fill(stream, true)
		time.Sleep(while)
		w.broker.Fill(stream, false)
	}},
	{"delete a channel, and restore it", nil, func(w *world, _ int, while time.Duration) {
		r := w.anyReader(w.dice)
		e, err := w.registry.Get(context.Background(), r.name)
		if err == nil {
			_, err = w.registry.Delete(context.Background(), r.name, e.Revision)
		}
		w.note("delete %s: %v", r.name, err)
		time.Sleep(while)
		_, err = w.registry.Restore(context.Background(), r.name)
		w.note("restore %s: %v", r.name, err)
	}},
}

// accepted returns the accepted updates that are the reader's.
func (r *reader) accepted(w *world) []faults.Accepted {
	w.story.mu.Lock()
	defer w.story.mu.Unlock()
	var out []faults.Accepted
	for _, a := range w.story.accepted {
		if a.Replayed = r.sentAgain; r.config.Takes(a.Key) {
			out = append(out, a)
		}
	}
	return out
}

// judge returns what a channel's part of the history violates.
func (r *reader) judge(w *world) error {
	outcomes := w.book.outcomes(r.name)
	for _, e := range outcomes.Entries {
		if !r.config.Takes(e.Key) {
			return fmt.Errorf("%s is violated: %s has an outcome of %s, which it does not take", "from.keys", r.name, e.Key)
		}
	}
	outcomes.Entries = ordinaryOnly(outcomes.Entries)
	h := r.target.history()
	h.Absences = w.story.absences
	if err := faults.Check(h, r.accepted(w), &outcomes, r.config.Mode); err != nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	return errors.Join(r.target.objectsErr(), w.testimony(r, &outcomes))
}

// unsettled returns the accepted updates that have no outcome.
func (r *reader) unsettled(w *world) (missing []faults.Accepted) {
	outcomes := w.book.outcomes(r.name)
	for _, a := range r.accepted(w) {
		if !a.Uncertain && !outcomes.Settled(a) {
			missing = append(missing, a)
		}
	}
	return missing
}

// untidy returns an error if something was not taken notice of.
func (r *reader) untidy(w *world) error {
	var errs []error
	outcomes := w.book.outcomes(r.name)
	dead := map[string]bool{}
	for _, e := range outcomes.Entries {
		if e.Version.IsZero() && e.Outcome == events.DeadLettered {
			dead[e.Key] = true
		}
	}
	for _, key := range w.story.broken {
		if r.config.Takes(key) && !dead[key] {
			errs = append(errs, fmt.Errorf("%s is no update, and has no outcome in %s", key, r.name))
		}
	}
	for _, key := range w.story.resets {
		if r.config.Takes(key) && outcomes.Ledger[key].Settled.Version != testkit.Number(1) {
			errs = append(errs, fmt.Errorf("%s was reset, and its new version 1 has no outcome in %s", key, r.name))
		}
	}
	return errors.Join(errs...)
}

// lost returns an error if an update without an outcome will never have one: its partition
// has gone past it, and it is not parked.
func (w *world) lost() error {
	ctx := context.Background()
	store, err := channels.OpenProgress(ctx, w.admin.js, w.names)
	if err != nil || w.story.backup != nil { // sequences were given twice
		return err
	}
	parked := map[string]bool{}
	for _, m := range w.broker.MessagesAfter(wire.ParkedStream(w.names), 0) {
		parked[m.Subject] = true
	}
	for _, r := range w.readers {
		e, err := w.registry.Get(ctx, r.name)
		if err != nil {
			return err
		}
		for _, a := range r.unsettled(w) {
			enc, _ := events.EncodeKey(a.Key)
			p, _, err := store.Read(ctx, r.name, e.Generation, wire.Partition(enc, e.Config.Partitions))
			if err != nil {
				return err
			}
			seq := w.book.sequence(a)
			if newest := w.story.newestOf(a.Key); newest.Tag() == a.Tag && seq <= p.Floor && !parked[wire.ParkedUpdate(w.names, r.name, enc)] {
				return fmt.Errorf("guarantee 1 is violated: %s@%s is lost in %s: the floor is %d, and it is message %d", a.Key, a.Version, r.name, p.Floor, seq)
			}
		}
	}
	return nil
}

// sequence returns where the stream has stored an update.
func (b *book) sequence(a faults.Accepted) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, of := range b.known[a.Key] {
		if of.Tag == a.Tag {
			return of.seq
		}
	}
	return 0
}

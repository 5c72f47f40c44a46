package sim_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/delivery/internal/sim"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
	"github.com/hms-utl/extsync/pkg/versioning"
)

const (
	// settleMost is how long all may take to settle once everything is well again: the
	// circuit, a lease, a request that is not answered, and the longest waits of those.
	settleMost = 10 * time.Minute
	// tidyMost is how long what is settled may lie at the broker: messages whose ack was
	// lost come again after a minute, and what clients do not hand out is looked for as
	// rarely.
	tidyMost             = 5 * time.Minute
	settleLook, tidyLook = 500 * time.Millisecond, 2 * time.Second
)

// A story is what has happened that the judgement must know.
type story struct {
	mu       sync.Mutex
	accepted []faults.Accepted
	at       []time.Time // when each of them was
	newest   map[string]events.Update

	absences []faults.Absence
	resets   []string // keys whose versions began anew at 1
	broken   []string // keys of messages that are no updates
	backup   *sim.Backup
	saved    time.Time
}

func (s *story) accept(u events.Update) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted = append(s.accepted, faults.Accepted{Key: u.Key, Tag: u.Tag()})
	s.at = append(s.at, time.Now())
	if s.newest == nil {
		s.newest = map[string]events.Update{}
	}
	if last, ok := s.newest[u.Key]; !ok || !older(u, last) {
		s.newest[u.Key] = u
	}
}

// each calls change with the number of each accepted update.
func (s *story) each(change func(i int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.accepted {
		change(i)
	}
}

func older(u, v events.Update) bool {
	order, err := u.Version.Compare(v.Version)
	return err == nil && order < 0
}

// newestOf returns the newest update of a key that was accepted.
func (s *story) newestOf(key string) events.Update {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest[key]
}

// history runs one history and returns what it violates; nil: nothing.
func (w *world) history() error {
	for range w.plan.workers {
		w.hire()
	}
	var publishing sync.WaitGroup
	for i := range w.plan.publishers {
		p := w.connect("p" + strconv.Itoa(i))
		publishing.Go(func() {
			defer p.nc.Close()
			w.publish(p, i)
		})
	}
	asking, stopAsking := context.WithCancel(context.Background())
	defer stopAsking()
	go w.ask(asking, w.connect("witness"))
	w.disturb()
	publishing.Wait()
	if err := w.heal(); err != nil {
		return err
	}
	if w.story.backup != nil {
		if err := w.beginAnew(); err != nil {
			return err
		}
	}
	w.note("all is well; %d are accepted", len(w.story.accepted))
	if err := w.await(settleMost, settleLook, w.unsettled); err != nil {
		return errors.Join(w.lost(), err)
	}
	w.note("all is settled")
	return w.await(tidyMost, tidyLook, func() error {
		if err := w.untidy(); err != nil {
			return err
		}
		return w.judge()
	})
}

// judge returns what the history violates. The ledger is written behind.
func (w *world) judge() error {
	for _, r := range w.readers {
		if err := r.judge(w); err != nil {
			return err
		}
	}
	return w.book.err()
}

// await returns nil as soon as look does, and what it says if it does not for some time.
func (w *world) await(most, every time.Duration, look func() error) error {
	for until := time.Now().Add(most); ; time.Sleep(every) {
		if err := look(); err == nil || time.Now().After(until) {
			return err
		}
	}
}

// beginAnew puts the broker's files back, and has the platform publish what is newest again:
// what was accepted since they were saved is lost, and may have been delivered.
func (w *world) beginAnew() error {
	if err := w.putBack(); err != nil {
		return err
	}
	s := &w.story
	s.broken, s.resets = nil, nil
	s.each(func(i int) { s.accepted[i].Uncertain = s.at[i].After(s.saved.Add(-time.Second)) })
	pub, err := publish.New(context.Background(), w.admin.js, w.names)
	if err != nil {
		return err
	}
	newest := map[string]events.Update{}
	for key, u := range s.newest {
		newest[key] = u
	}
	for _, u := range newest {
		u.Base = versioning.Version{} // it may be lost
		if w.publishOne(pub, u) {
			s.accept(u)
		}
	}
	return nil
}

// unsettled returns an error if an accepted update has no outcome in a channel.
func (w *world) unsettled() error {
	for _, r := range w.readers {
		if missing := r.unsettled(w); len(missing) > 0 {
			return fmt.Errorf("%d updates have no outcome in %s, one of them %s@%s", len(missing), r.name, missing[0].Key, missing[0].Version)
		}
	}
	return nil
}

// untidy returns an error if something is left at the broker that has been settled, or was
// not taken notice of.
func (w *world) untidy() error {
	var errs []error
	if n := len(w.broker.MessagesAfter(wire.ParkedStream(w.names), 0)); n > 0 {
		errs = append(errs, fmt.Errorf("all is settled, and %d updates are parked", n))
	}
	if n := len(w.broker.MessagesAfter(wire.UpdateStream(w.names, w.route), 0)); n > 0 && !w.latest() {
		errs = append(errs, fmt.Errorf("all is settled, and the work queue holds %d messages", n))
	}
	for _, r := range w.readers {
		errs = append(errs, r.untidy(w))
	}
	return errors.Join(errs...)
}

func (w *world) update(key string, version int64) events.Update {
	u := events.Update{Topic: w.route.Topic(), Key: key, Version: testkit.Number(version), Payload: []byte(`{"n":` + strconv.FormatInt(version, 10) + `}`)}
	if u.Topic == "" {
		u.Channel = w.route.Name()
	}
	return u.WithDefaults()
}

// publisher returns a publisher of a process, as soon as there can be one.
func (w *world) publisher(p *process) *publish.Publisher {
	for {
		if pub, err := publish.New(context.Background(), p.js, w.names); err == nil {
			return pub
		}
		time.Sleep(time.Second)
	}
}

// publish publishes a publisher's share, over the length of the history.
func (w *world) publish(p *process, index int) {
	dice := rand.New(rand.NewPCG(w.seed, uint64(100+index))) //nolint:gosec // reproducible on purpose
	pub := w.publisher(p)
	versions := map[string]int64{}
	n := w.plan.updates / w.plan.publishers
	gap := w.plan.length / time.Duration(n)
	for range n {
		time.Sleep(time.Duration(dice.Int64N(int64(2 * gap))))
		key := keyOf(dice.IntN(w.plan.keys)*w.plan.publishers + index)
		last := w.story.newestOf(key)
		if dice.IntN(10) == 0 && versions[key] > 1 {
			w.tryGuard(pub, last, versions[key]-1)
		}
		versions[key] += 1 + int64(dice.IntN(2))
		u := w.update(key, versions[key])
		if dice.IntN(5) == 0 {
			u.Base = last.Version
		}
		if dice.IntN(10) == 0 {
			u.Op, u.Payload = events.Delete, nil
		}
		if dice.IntN(4) == 0 {
			u.ReplyTo, _ = w.names.ServiceAck("billing", "x") // the names are well-formed
		}
		if w.publishOne(pub, u) {
			w.story.accept(u)
		}
	}
}

// publishOne publishes what the guard must take, and reports whether it was accepted.
func (w *world) publishOne(pub *publish.Publisher, u events.Update) bool {
	accepted, err := w.publishGuarded(pub, u)
	switch {
	case accepted:
	case errors.Is(err, events.ErrConflict) && !u.Base.IsZero():
		w.saw("the guard refused an update that was made from the newest version: %w", err)
		u.Base = versioning.Version{} // so that the history goes on
		return w.publishOne(pub, u)
	default:
		w.t.Errorf("seed %d: publish %s@%s: %v", w.seed, u.Key, u.Version, err)
	}
	return accepted
}

// publishGuarded publishes the same update until there is an answer.
func (w *world) publishGuarded(pub *publish.Publisher, u events.Update) (accepted bool, err error) {
	for {
		_, err := pub.Publish(context.Background(), u)
		if err == nil || !wire.IsUnavailable(err) && !errors.Is(err, events.ErrBusy) && !errors.Is(err, events.ErrFull) && !errors.Is(err, events.ErrBrokerFull) {
			return err == nil, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// heal ends everything that could keep updates from being settled.
func (w *world) heal() error {
	for _, r := range w.readers {
		r.target.heal()
	}
	for _, wk := range w.workers {
		wk.link.Mend()
	}
	return w.resume()
}

// resume ends what administrators have stopped.
func (w *world) resume() error {
	return w.await(time.Minute, time.Second, func() error {
		for _, r := range w.readers {
			_, err := w.registry.Restore(context.Background(), r.name)
			if err == nil {
				_, err = w.registry.Resume(context.Background(), r.name)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// tellKeys adds to the notes what was accepted, and what the log says of each key.
func (w *world) tellKeys() {
	for i, a := range w.story.accepted {
		w.note("accepted at %.3fs: %s@%s %s", w.story.at[i].Sub(w.start).Seconds(), a.Key, a.Version, a.Digest.Short())
	}
	for _, r := range w.readers {
		for _, e := range w.book.outcomes(r.name).Entries {
			w.note("log %d of %s by %s: %s@%s %s %s, message %d, by %s %s", e.Seq, r.name, e.Worker, e.Key, e.Version, e.Digest.Short(), e.Outcome, e.Sequence, e.By, e.Code)
		}
	}
}

// run runs the history of a seed in simulated time. It returns what it violates, and what
// happened.
func run(t *testing.T, seed uint64) (notes []string, err error) {
	t.Helper()
	w := newWorld(t, seed, nil)
	if err = w.history(); err != nil {
		w.tellKeys()
	}
	w.end()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.notes, err
}

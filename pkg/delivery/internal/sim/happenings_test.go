package sim_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/publish"
)

// A happening is something that happens while updates flow. It ends within while, or a
// little later.
type happening struct {
	what string
	when func(*world) bool // nil: always
	run  func(w *world, i int, while time.Duration)
}

func (w *world) latest() bool { return w.plan.config.Mode == channels.Latest }

func guarded(w *world) bool {
	return !slices.ContainsFunc(w.readers, func(r *reader) bool { return !r.target.guarded })
}

// happenings are what may happen. i is a worker that is there.
var happenings = []happening{ //nolint:gochecknoglobals // a constant
	{"kill", nil, func(w *world, i int, while time.Duration) {
		w.kill(i)
		time.Sleep(while)
		w.hire()
	}},
	{"dismiss", nil, func(w *world, i int, _ time.Duration) {
		w.dismiss(i)
		w.hire()
	}},
	// What a frozen worker has on the wire is for the target to refuse.
	{"freeze", guarded, (*world).freeze},
	{"cut", nil, func(w *world, i int, _ time.Duration) { w.workers[i].link.Cut(false) }},
	{"cut off", nil, func(w *world, i int, while time.Duration) {
		w.workers[i].link.Cut(true)
		time.Sleep(while)
		w.workers[i].link.Mend()
	}},
	{"lose answers", nil, func(w *world, i int, while time.Duration) {
		w.workers[i].link.Lose(0.1)
		time.Sleep(while)
		w.workers[i].link.Lose(0)
	}},
	{"kill the broker", nil, func(w *world, _ int, _ time.Duration) {
		w.broker.Restart(func() bool { return w.dice.IntN(2) == 0 })
	}},
	{"fill a stream", nil, (*world).fill},
	{"pause", nil, (*world).pause},
	{"resync", (*world).latest, func(w *world, _ int, _ time.Duration) {
		r := w.anyReader(w.dice)
		r.sentAgain = true
		_, err := w.registry.StartResync(context.Background(), r.name, channels.Selection{})
		w.note("resync of %s: %v", r.name, err)
	}},
	{"replay", nil, func(w *world, _ int, _ time.Duration) {
		r := w.anyReader(w.dice)
		r.sentAgain = true
		sum, err := w.letters.ReplayAll(context.Background(), deadletters.Filter{Channel: r.name}, nil)
		w.note("replay of %s: %+v, %v", r.name, sum, err)
	}},
	{"repartition", nil, func(w *world, _ int, _ time.Duration) { w.note("repartition: %v", w.repartition(w.anyReader(w.dice))) }},
	{"reset a key", nil, (*world).resetKey},
	{"malformed", nil, func(w *world, _ int, _ time.Duration) { w.publishBroken("m", nats.Header{}, []byte("{")) }},
	{"hidden", nil, func(w *world, _ int, _ time.Duration) { w.publishBroken("h", nats.Header{"Status": {"100"}}, nil) }},
}

// disturb has things happen while updates flow.
func (w *world) disturb() {
	possible := happenings
	if w.route.Topic() != "" {
		possible = append(slices.Clone(happenings), toTopics...)
	}
	saveAfter := -1
	if w.plan.older {
		saveAfter = w.dice.IntN(w.plan.happenings + 1)
	}
	for n := range w.plan.happenings + 1 {
		if n == saveAfter {
			w.save()
		}
		w.arrivals(n)
		if n == w.plan.happenings {
			return
		}
		time.Sleep(time.Duration(w.dice.Int64N(int64(w.plan.length) / 4)))
		h := possible[w.dice.IntN(len(possible))]
		i, while := w.dice.IntN(len(w.workers)), time.Duration(w.dice.Int64N(int64(2*leaseTTL)))
		if h.when != nil && !h.when(w) {
			continue
		}
		w.note("%s (%s, %s)", h.what, w.workers[i].name, while)
		h.run(w, i, while)
	}
}

func (w *world) freeze(i int, while time.Duration) {
	wk, from := w.workers[i], time.Since(w.start)
	wk.link.Freeze()
	time.Sleep(while)
	wk.link.Thaw()
	w.story.absences = append(w.story.absences, faults.Absence{Worker: wk.name, From: from, To: time.Since(w.start)})
}

func (w *world) fill(_ int, while time.Duration) {
	n := w.names
	stream := pick(w.dice, wire.OutcomeStream(n), wire.KVStream(wire.LedgerBucket(n)), wire.KVStream(wire.ProgressBucket(n)), wire.ParkedStream(n), wire.DeadStream(n), wire.AckStream(n))
	w.note("%s is full", stream)
	w.broker.Fill(stream, true)
	time.Sleep(while)
	w.broker.Fill(stream, false)
}

func (w *world) pause(_ int, while time.Duration) {
	r := w.anyReader(w.dice)
	_, err := w.registry.Pause(context.Background(), r.name)
	w.note("pause %s: %v", r.name, err)
	time.Sleep(while)
	if w.dice.IntN(2) == 0 { // else it stays paused until all is well
		_, err = w.registry.Resume(context.Background(), r.name)
		w.note("resume %s: %v", r.name, err)
	}
}

// repartition gives a channel another number of partitions.
func (w *world) repartition(r *reader) error {
	e, err := w.registry.Get(context.Background(), r.name)
	if err != nil {
		return err
	}
	cfg := e.Config
	cfg.Partitions = 5 - cfg.Partitions
	_, err = w.registry.Put(context.Background(), cfg, e.Revision)
	return err
}

// resetKey counts the versions of a key anew, as a platform does that was restored. The key
// is none of those that the history is about.
func (w *world) resetKey(i int, while time.Duration) {
	key := "r" + strconv.Itoa(len(w.story.resets))
	if !w.publishReset(key, 5) {
		return
	}
	time.Sleep(while)
	err := w.reset(key)
	w.note("reset of %s: %v", key, err)
	if err == nil && w.publishReset(key, 1) {
		w.story.resets = append(w.story.resets, key)
	}
}

func (w *world) reset(key string) error {
	if topic := w.route.Topic(); topic != "" {
		return w.registry.ResetTopicKey(context.Background(), topic, key)
	}
	return w.registry.ResetKey(context.Background(), w.route.Name(), key)
}

func (w *world) publishReset(key string, version int64) bool {
	pub, err := publish.New(context.Background(), w.admin.js, w.names)
	if err == nil {
		_, err = pub.Publish(context.Background(), w.update(key, version))
	}
	w.note("publish %s@%d: %v", key, version, err)
	return err == nil
}

// publishBroken stores a message that is no update, under a key of its own.
func (w *world) publishBroken(prefix string, header nats.Header, data []byte) {
	key := prefix + strconv.Itoa(len(w.story.broken)+1)
	w.story.broken = append(w.story.broken, key)
	msg := nats.NewMsg(w.names.Update(w.route, key))
	msg.Header, msg.Data = header, data
	msg.Header.Set(nats.MsgIdHdr, msg.Subject)
	for {
		_, err := w.admin.js.PublishMsg(context.Background(), msg)
		if err == nil {
			return
		}
		if !wire.IsUnavailable(err) {
			w.t.Errorf("publish what is malformed: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// save keeps what the broker holds.
func (w *world) save() {
	w.note("the broker's files are saved")
	backup := w.broker.Backup()
	w.story.backup, w.story.saved = &backup, time.Now()
}

// putBack has the broker come back with what it held before, by the book.
func (w *world) putBack() error {
	w.note("the broker's files are put back")
	for len(w.workers) > 0 {
		w.dismiss(0)
	}
	for _, done := range w.leaving { // those that were dismissed before, too
		<-done
	}
	w.broker.Restore(*w.story.backup)
	w.book.read()
	err := w.await(time.Minute, time.Second, func() error {
		_, _, err := wire.RenewIncarnation(context.Background(), w.admin.js, w.names)
		return err
	})
	w.open()
	for range w.plan.workers {
		w.hire()
	}
	return errors.Join(err, w.resume())
}

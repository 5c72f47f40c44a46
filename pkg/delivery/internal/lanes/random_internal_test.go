package lanes

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// An attempt is a lane in a call, with how many of that call have no answer yet.
type attempt struct {
	lane *Lane
	left *under
}

// What is under is a call: how many of its attempts have not ended.
type under struct {
	n      int
	behind bool
}

// A world is a rig whose owner does everything at some time, in any order, and whose
// broker, target and ledger are a few maps.
type world struct {
	*rig
	rng    *rand.Rand
	latest bool
	keys   []string
	// crashes is how likely the owner dies when it could, in percent.
	crashes int

	came     []*Item            // that are not in the ledger's past, by sequence
	versions map[string]int64   // newest of each key
	parked   map[string][]*Item // the parked stream, by key
	records  map[string]*wire.Record
	log      uint64
	calling  map[string]*Item // the update in flight of each key
	called   []attempt
	ended    map[uint64]bool           // updates that an owner has let go, by sequence
	outcomes map[uint64]events.Outcome // that the log has of each
	last     map[string]uint64         // that has an outcome, of each key
	resync   *Resync

	floor   uint64           // as it was written last
	backlog []*Item          // that come again to another owner
	places  map[Place]uint64 // in the parked stream, which never stores a place twice
}

func newWorld(t *testing.T, seed uint64, mode channels.Mode) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 1)), latest: mode == channels.Latest, versions: map[string]int64{}, parked: map[string][]*Item{},
		records: map[string]*wire.Record{}, calling: map[string]*Item{}, ended: map[uint64]bool{}, last: map[string]uint64{},
		outcomes: map[uint64]events.Outcome{}, places: map[Place]uint64{},
	}
	w.rig = newRig(t, mode, func(o *Options) {
		o.Window, o.Calls, o.ParkAfter = 12, 3, 5*time.Second
		o.Retry.MaxAttempts, o.Retry.UnreadyFor = 6, connectors.Duration(20*time.Second)
	})
	w.m.mostParked = 3
	for i := range 5 {
		key := fmt.Sprint("k", i)
		w.keys = append(w.keys, key)
		w.records[key] = &wire.Record{}
	}
	return w
}

func (w *world) chance(percent int) bool { return w.rng.IntN(100) < percent }

func (w *world) someKey() string { return w.keys[w.rng.IntN(len(w.keys))] }

// publish has an update come: a new version, one that was there before, or a message again.
func (w *world) publish() {
	if w.m.Full() {
		return
	}
	if len(w.came) > 0 && w.chance(20) {
		if it := w.came[w.rng.IntN(len(w.came))]; it.Seq <= w.m.Floor().Last() {
			w.comeAgain(it)
		}
		return
	}
	if len(w.backlog) > 0 {
		w.comeAgain(w.backlog[0])
		w.backlog = w.backlog[1:]
		return
	}
	key := w.someKey()
	if w.versions[key] == 0 || w.chance(85) {
		w.versions[key]++
	}
	w.came = append(w.came, w.arrive(key, w.versions[key], func(it *Item) {
		it.Size = 1 + w.rng.IntN(100)
		if w.chance(3) {
			it.Malformed, it.Tag = errors.New("no update"), versioning.Tag{}
		}
	}))
}

// call begins a call and judges its updates.
func (w *world) call() {
	n := w.m.Ready()
	if n == 0 {
		return
	}
	batch, behind := w.m.Next(1+w.rng.IntN(n), w.chance(20))
	left := &under{behind: behind}
	for _, l := range batch {
		key, it := l.Key().Encoded(), l.Head()
		if w.calling[key] != nil {
			w.t.Fatalf("two calls of %s are in flight", key)
		}
		switch w.m.Judge(l, w.records[key]) {
		case Calls:
			if it.Live() && w.outcomes[it.Seq] != "" {
				w.t.Fatalf("update %d of %s is tried again after its outcome", it.Seq, key)
			}
			if it.Parked > 0 && !w.isParked(key, it.Parked) {
				w.t.Fatalf("update %d of %s is tried, and the parked stream has it no more", it.Seq, key)
			}
			w.calling[key] = it
			w.called = append(w.called, attempt{l, left})
			left.n++
		case Forgotten:
			w.end(it)
		}
	}
	if left.n == 0 {
		w.m.CallEnded(behind)
	}
	w.do()
}

// answer ends the attempt of one lane.
func (w *world) answer(ok bool) {
	if len(w.called) == 0 {
		return
	}
	i := w.rng.IntN(len(w.called))
	one := w.called[i]
	l := one.lane
	w.called = slices.Delete(w.called, i, i+1)
	defer func() {
		if one.left.n--; one.left.n == 0 {
			w.m.CallEnded(one.left.behind)
			w.do()
		}
	}()
	delete(w.calling, l.Key().Encoded())
	res := connectors.Done()
	if !ok {
		switch w.rng.IntN(8) {
		case 0:
			res.Class = connectors.Stale
		case 1:
			res.Class = connectors.Conflict
		case 2:
			res.Class = connectors.Permanent
		case 3:
			res.Class, res.RetryAfter = connectors.Throttled, time.Second
		case 5:
			res.Class = connectors.Unready
		case 4:
			w.m.Postpone(time.Second, l)
			w.do()
			return
		default:
			res = busy()
		}
	}
	v := w.gate.Report(l.Key().Encoded(), l.Standing(), res, false)
	v.Counts = w.chance(80)
	v.Shut = !v.Counts
	a := Answered(res, v)
	w.m.Concluded(l, &a)
	w.do()
}

// errand does what a lane waits for.
func (w *world) errand(ok bool) {
	if len(w.letters) > 0 {
		letter := w.letters[0]
		w.letters = w.letters[1:]
		if ok {
			w.m.Stored(&letter)
		} else {
			w.m.Postpone(time.Second, letter.Lane)
		}
	} else if len(w.again) > 0 {
		repeat := w.again[0]
		w.again = w.again[1:]
		if ok {
			w.end(repeat.Item)
			w.m.SentAgain(&repeat)
		} else {
			w.m.Postpone(time.Second, repeat.Lane)
		}
	}
	w.do()
}

// end notes that an update is let go.
func (w *world) end(it *Item) {
	if !it.Live() {
		return
	}
	if w.ended[it.Seq] && w.crashes == 0 { // else it may come after its parked copy is settled
		w.t.Fatalf("update %d is let go twice", it.Seq)
	}
	w.ended[it.Seq] = true
}

// commitSome writes a group to the log, and dies then if it is told to.
func (w *world) commitSome(dies bool) {
	n := min(len(w.commits), 1+w.rng.IntN(4))
	group := slices.Clone(w.commits[:n])
	w.commits = w.commits[n:]
	for i := range group {
		w.append(&group[i])
	}
	if dies {
		w.crash()
		return
	}
	for i := range group {
		if it := group[i].Item; it != nil {
			w.end(it)
		}
		w.m.Committed(&group[i])
	}
	w.do()
}

// append adds an entry to the log and its record, but for one whose outcome they have.
func (w *world) append(c *Commit) {
	key := c.Key.Encoded()
	if c.Entry.Version.IsZero() || c.Item != nil && c.Lane == nil && w.m.Known(c, w.records[key]) {
		return
	}
	w.log++
	w.records[key].Add(c.Entry, wire.LogPosition{Seq: w.log})
	it := c.Item
	if it == nil || !it.Live() {
		return
	}
	// A record lists eight outcomes: one that was superseded longer ago is so again.
	before := w.outcomes[it.Seq]
	if before != "" && (w.crashes == 0 || before != events.Superseded || c.Entry.Outcome != events.Superseded) {
		w.t.Fatalf("update %d was %s and has another outcome: %+v", it.Seq, before, c.Entry)
	}
	w.outcomes[it.Seq] = c.Entry.Outcome
	if it.Seq < w.last[key] && !w.latest {
		w.t.Fatalf("update %d of %s is settled after %d", it.Seq, key, w.last[key])
	}
	w.last[key] = it.Seq
}

// moveOne moves an update to the parked stream, or fails to.
func (w *world) moveOne(ok bool) {
	if len(w.park) == 0 {
		return
	}
	i := w.rng.IntN(len(w.park))
	l := w.park[i]
	it := w.m.NextMove(l)
	switch {
	case it == nil:
		w.park = slices.Delete(w.park, i, i+1)
	case !ok:
		w.park = slices.Delete(w.park, i, i+1)
		w.m.MoveFailed(l, it)
	default:
		at, before := w.places[it.Where()]
		if !before {
			w.ats++
			at = w.ats
			w.places[it.Where()] = at
			stored, key := *it, l.Key().Encoded()
			stored.Parked = at
			w.parked[key] = append(w.parked[key], &stored)
		}
		w.m.Moved(l, it, at)
	}
	w.do()
}

// loadOne reads parked updates, or fails to.
func (w *world) loadOne(ok bool) {
	if len(w.load) == 0 {
		return
	}
	l := w.load[0]
	w.load = w.load[1:]
	var got []*Item
	for _, it := range w.parked[l.Key().Encoded()] {
		if it.Parked >= l.LoadFrom() && len(got) <= w.m.mostParked {
			got = append(got, w.read(it))
		}
	}
	if ok {
		w.m.Loaded(l, got)
	} else {
		w.m.LoadFailed(l)
	}
	w.do()
}

// deletes has the parked stream forget what is settled.
func (w *world) deletes() {
	for _, at := range w.deleted {
		for key, items := range w.parked {
			w.parked[key] = slices.DeleteFunc(items, func(it *Item) bool { return it.Parked == at })
		}
	}
	w.deleted = nil
}

// resyncStep begins, goes on with, or ends a resync.
func (w *world) resyncStep() {
	switch {
	case !w.latest || len(w.came) == 0:
	case w.resync == nil:
		w.resync = w.m.BeginResync(channels.ResyncProgress{})
	case w.chance(10):
		w.m.DropResync(w.resync)
		w.do()
		w.resync = nil
	default:
		it := w.came[w.rng.IntN(len(w.came))]
		if it.Malformed == nil && w.m.UnderWay(w.resync) < 5 && it.Seq > w.resync.floor.Last() {
			w.found(w.resync, it.Update.Key, w.versions[it.Update.Key], it.Seq)
		}
	}
}

// replayOne asks for a replay of an update that was given up.
func (w *world) replayOne() {
	key := w.someKey()
	for _, s := range w.records[key].Recent {
		if s.Outcome == events.DeadLettered || s.Outcome == events.Conflict {
			w.replay(key, w.versionOf(s.Version))
			return
		}
	}
}

// versionOf returns the number that a version was made from.
func (w *world) versionOf(v versioning.Version) int64 {
	for n := int64(1); ; n++ {
		if testkit.Number(n) == v {
			return n
		}
	}
}

// check looks at what holds at any time.
func (w *world) check() {
	m := w.m
	inHand, given := 0, 0
	count := func(it *Item) {
		if it.Size > 0 {
			inHand++
		}
		given += it.Size
	}
	m.Held(count)
	for _, it := range m.leaving {
		if !m.Holds(it) { // it is no longer in memory as a parked one
			count(it)
		}
	}
	for _, rs := range append(m.resyncs.dropped, m.resyncs.now) {
		if rs != nil && (rs == m.resyncs.now || len(rs.out) > 0) {
			for _, it := range rs.out {
				given += it.Size
			}
		}
	}
	for it := range m.replays {
		given += it.Size
	}
	if inHand != m.count.inHand {
		w.t.Fatalf("%d are in hand, it says %d", inHand, m.count.inHand)
	}
	if w.given+given != w.taken {
		w.t.Fatalf("%d bytes were taken, %d are held and %d were given back", w.taken, given, w.given)
	}
	for i, l := range m.waiting {
		if l.place != i+1 || l.busy || l.queued {
			w.t.Fatalf("%s waits at %d, it says %d; busy %v, ready %v", l.Key().Encoded(), i+1, l.place, l.busy, l.queued)
		}
	}
	pins := map[string]int{}
	for key, l := range m.lanes {
		pins[key]++
		if !l.busy && !l.queued && l.place == 0 {
			w.t.Fatalf("nobody comes back to %s: %d in its lane", key, len(l.queue))
		}
	}
	for _, c := range w.commits {
		pins[c.Key.Encoded()]++
	}
	for _, key := range w.keys {
		if pins[key] != w.pins[key] {
			w.t.Fatalf("%s has %d pins, want %d", key, w.pins[key], pins[key])
		}
	}
}

// step does one thing.
func (w *world) step() {
	ok := w.chance(60)
	switch w.rng.IntN(12) {
	case 0, 1, 2:
		w.publish()
	case 3, 4:
		w.call()
	case 5:
		w.answer(w.chance(30))
	case 6:
		w.errand(ok)
	case 7:
		w.commitSome(w.chance(w.crashes))
	case 8:
		w.moveOne(ok)
		w.loadOne(ok)
	case 9:
		w.after(time.Duration(w.rng.IntN(2000)) * time.Millisecond)
	case 10:
		if ok {
			w.resyncStep()
		} else {
			w.replayOne()
		}
	case 11:
		w.deletes()
		w.floor = w.m.Floor().Value()
		if w.chance(20) {
			w.m.Freed(0)
			w.do()
		}
		if w.chance(w.crashes) {
			w.crash()
		}
	}
	w.check()
}

// drain lets everything succeed until nothing is left.
func (w *world) drain() {
	for range 10_000 {
		if w.m.Keys() == 0 && w.m.Idle() && len(w.commits)+len(w.backlog) == 0 {
			return
		}
		w.publishAgain()
		w.call()
		w.answer(true)
		w.errand(true)
		w.commitSome(false)
		w.moveOne(true)
		w.loadOne(true)
		w.deletes()
		w.after(time.Minute)
		w.check()
	}
	w.t.Fatalf("%d keys are still in hand: %+v", w.m.Keys(), w.m.Hand())
}

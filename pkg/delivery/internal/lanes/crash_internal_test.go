package lanes

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"github.com/hms-utl/extsync/pkg/channels"
)

// crash has another owner take over. Of what was under way it knows the records, the parked
// stream and the floor that was written last; the rest comes again.
func (w *world) crash() {
	w.commits, w.letters, w.again, w.park, w.load, w.deleted = nil, nil, nil, nil, nil, nil
	w.called, w.resync, w.replayed, w.taken, w.given = nil, nil, nil, 0, 0
	clear(w.calling)
	clear(w.pins)
	o, most := w.m.o, w.m.mostParked
	w.m = New(o)
	w.m.mostParked = most
	w.m.Floor().StartAt(w.floor, 0)
	var parked []*Item
	for _, key := range w.keys {
		parked = append(parked, w.parked[key]...)
	}
	slices.SortFunc(parked, func(a, b *Item) int { return cmp.Compare(a.Parked, b.Parked) })
	for _, it := range parked {
		w.m.Recovered(w.read(it), w.pin(it.Update.Key))
		w.do()
	}
	w.backlog = nil
	for _, it := range w.came {
		if it.Seq > w.floor {
			w.backlog = append(w.backlog, it)
		}
	}
}

// read returns an update as it is read from the parked stream.
func (w *world) read(it *Item) *Item {
	return &Item{Update: it.Update, Tag: it.Tag, Seq: it.Seq, Published: it.Published, Parked: it.Parked, Came: w.now}
}

// comeAgain has a copy of an update come.
func (w *world) comeAgain(it *Item) {
	again := w.item(it.Update.Key, 1, it.Seq)
	again.Update, again.Tag, again.Published, again.Malformed = it.Update, it.Tag, it.Published, it.Malformed
	w.come(again)
}

// publishAgain has that come which another owner has not settled.
func (w *world) publishAgain() {
	if len(w.backlog) > 0 && !w.m.Full() {
		w.comeAgain(w.backlog[0])
		w.backlog = w.backlog[1:]
	}
}

func (w *world) isParked(key string, at uint64) bool {
	return slices.ContainsFunc(w.parked[key], func(it *Item) bool { return it.Parked == at })
}

// checkEnd looks at what holds once nothing is left.
func (w *world) checkEnd() {
	for _, it := range w.came {
		if it.Malformed != nil {
			continue // it has no record: who dies before it is settled writes another letter
		}
		if !w.ended[it.Seq] && w.outcomes[it.Seq] == "" {
			w.t.Errorf("update %d of %s was not let go", it.Seq, it.Update.Key)
		}
		if rec := w.records[it.Update.Key]; isOlder(rec.Settled.Version, it.Tag.Version) {
			w.t.Errorf("version %s of %s has no outcome; %s has", it.Tag.Version, it.Update.Key, rec.Settled.Version)
		}
	}
	for key, left := range w.parked {
		if len(left) > 0 {
			w.t.Errorf("%d updates of %s are left in the parked stream", len(left), key)
		}
	}
}

// Whatever comes in whatever order: never two calls of a key, each update ends once and in
// the order of its key, and what is taken or pinned is given back. That holds for owners
// that die at any moment, too: another one knows what is in the log, in the parked stream,
// and above the floor that was written last.
func TestRandomEvents(t *testing.T) {
	seeds := uint64(200)
	if testing.Short() {
		seeds = 20
	}
	for _, mode := range []channels.Mode{channels.Every, channels.Latest} {
		for _, crashes := range []int{0, 8} {
			for seed := range seeds {
				if !t.Run(fmt.Sprintf("%s/%d/%d", mode, crashes, seed), func(t *testing.T) {
					w := newWorld(t, seed, mode)
					w.crashes = crashes
					for range 1500 {
						w.step()
					}
					w.drain()
					w.done()
					w.checkEnd()
				}) {
					return
				}
			}
		}
	}
}

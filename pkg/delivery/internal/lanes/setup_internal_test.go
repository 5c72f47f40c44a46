package lanes

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/gate"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/events"
)

// A rig is lanes with an owner that only writes down what is to be done, and a clock that
// stands.
type rig struct {
	t      *testing.T
	m      *Lanes
	gate   *gate.Gate // it has the standing of keys; whose fault a failure is the test says
	view   *ledger.View
	now    time.Time
	behind bool   // what the last call is
	seq    uint64 // of the update that came last
	ats    uint64 // of the update that was parked last

	commits  []Commit // not in the log yet
	letters  []Letter
	again    []Repeat
	park     []*Lane
	load     []*Lane
	deleted  []uint64
	acks     []Ack
	dropped  []*Item
	replayed []Replayed
	taken    int // bytes
	given    int
	pins     map[string]int
	wake     Wake
}

// waitsOf are the waits of a test.
type waitsOf []time.Duration

func (w *waitsOf) NextBackOff() time.Duration {
	next := (*w)[0]
	if len(*w) > 1 {
		*w = (*w)[1:]
	}
	return next
}

// start is when the clock of a rig begins.
func start() time.Time { return time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC) }

func newRig(t *testing.T, mode channels.Mode, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, now: start(), view: ledger.New(ledger.Options{Shared: &ledger.Shared{}}), pins: map[string]int{}}
	t.Cleanup(r.view.Close)
	o := Options{
		Latest: mode == channels.Latest, Window: 100, Calls: 10, ParkAfter: time.Hour, Names: events.DefaultNames(),
		Retry:      channels.Retry{MaxAttempts: 20, MaxBackoff: connectors.Duration(time.Minute)},
		NewBackoff: func() Backoff { return &waitsOf{time.Second, 2 * time.Second, 4 * time.Second} },
		Now:        func() time.Time { return r.now },
	}
	for _, c := range change {
		c(&o)
	}
	r.m = New(o)
	r.gate = gate.New(gate.Options{Log: zerolog.Nop(), Now: o.Now})
	return r
}

// do does what is to be done, as far as it is done in memory, and writes down the rest.
func (r *rig) do() {
	a := r.m.Todo()
	for _, c := range a.Commits {
		r.pins[c.Key.Encoded()]++
	}
	r.commits = append(r.commits, a.Commits...)
	r.park = append(r.park, a.Park...)
	r.load = append(r.load, a.Load...)
	r.deleted = append(r.deleted, a.Delete...)
	r.acks = append(r.acks, a.Acks...)
	r.dropped = append(r.dropped, a.Drop...)
	r.replayed = append(r.replayed, a.Replayed...)
	for _, k := range a.Unpin {
		if r.pins[k.Encoded()]--; r.pins[k.Encoded()] < 0 {
			r.t.Errorf("%s is unpinned more often than it was pinned", k.Encoded())
		}
	}
	r.given += a.Give
	r.wake = Wake{
		r.wake.Pull || a.Wake.Pull, r.wake.Dispatch || a.Wake.Dispatch, r.wake.Resync || a.Wake.Resync,
		r.wake.Refresh || a.Wake.Refresh, r.wake.Flush || a.Wake.Flush, r.wake.Tidy || a.Wake.Tidy,
	}
	r.letters, r.again = a.TakeErrands(r.letters, r.again)
	a.Clear()
}

func (r *rig) pin(key string) *ledger.Key {
	r.pins[key]++
	return r.view.Pin(key)
}

// message is a message whose reply subject tells which copy it is.
type message struct {
	jetstream.Msg
	copy string
}

func (m message) Reply() string { return m.copy }

// item returns an update as it comes from the consumer.
func (r *rig) item(key string, version int64, seq uint64) *Item {
	u := events.Update{Channel: "cal", Key: key, Version: testkit.Number(version), ID: fmt.Sprint(key, version)}
	return &Item{
		Update: u, Tag: u.Tag(), Seq: seq, Published: start().Add(time.Duration(seq) * time.Millisecond), Came: r.now, Size: 10,
		Msg: message{copy: fmt.Sprint(seq)},
	}
}

// arrive has an update come that was not there before.
func (r *rig) arrive(key string, version int64, change ...func(*Item)) *Item {
	r.seq++
	it := r.item(key, version, r.seq)
	for _, c := range change {
		c(it)
	}
	r.come(it)
	return it
}

func (r *rig) come(it *Item) {
	r.taken += it.Size
	r.m.Arrived(it, r.pin(it.Update.Key))
	r.do()
}

// begin begins a call for the lanes that are ready, which has to be of these keys.
func (r *rig) begin(keys ...string) []*Lane {
	r.t.Helper()
	var batch []*Lane
	var got []string
	if n := r.m.Ready(); n > 0 {
		batch, r.behind = r.m.Next(n, false)
	}
	for _, l := range batch {
		got = append(got, l.Key().Encoded())
	}
	if !slices.Equal(got, keys) {
		r.t.Fatalf("a call for %v, want %v", got, keys)
	}
	return batch
}

// conclude ends a call whose attempts all have this result.
func (r *rig) conclude(batch []*Lane, res connectors.Result) {
	for _, l := range batch {
		v := r.gate.Report(l.Key().Encoded(), l.Standing(), res, false)
		v.Counts, v.Shut, v.Closed = true, false, start()
		a := Answered(res, v)
		r.m.Concluded(l, &a)
	}
	r.m.CallEnded(r.behind)
	r.do()
}

// deliver delivers the heads of lanes, which have to be of these keys.
func (r *rig) deliver(keys ...string) {
	r.t.Helper()
	r.conclude(r.begin(keys...), connectors.Done())
	r.commit()
}

// fail has the heads of lanes fail, which have to be of these keys.
func (r *rig) fail(keys ...string) {
	r.t.Helper()
	r.conclude(r.begin(keys...), busy())
}

func busy() connectors.Result {
	return connectors.Failed(connectors.Transient, "503", errors.New("busy"))
}

// commit has all commits in the log.
func (r *rig) commit() {
	for len(r.commits) > 0 {
		c := r.commits[0]
		r.commits = r.commits[1:]
		r.m.Committed(&c)
		r.do()
	}
}

// move parks all that is to be parked.
func (r *rig) move() {
	for len(r.park) > 0 {
		l := r.park[0]
		it := r.m.NextMove(l)
		if it == nil {
			r.park = r.park[1:]
		} else {
			r.ats++
			r.m.Moved(l, it, r.ats)
		}
		r.do()
	}
	r.tell()
}

// tell has the log, and the ledger, told of what was parked.
func (r *rig) tell() {
	var others []Commit
	for i := range r.commits {
		if c := &r.commits[i]; c.Parked != nil {
			r.m.Committed(c)
			r.do()
		} else {
			others = append(others, *c)
		}
	}
	r.commits = others
}

// after lets time go by.
func (r *rig) after(d time.Duration) {
	r.now = r.now.Add(d)
	r.m.Tick()
	r.do()
}

// versions returns those in the lane of a key, in their order.
func (r *rig) versions(key string) (out []string) {
	if l := r.m.lanes[key]; l != nil {
		for _, it := range l.queue {
			out = append(out, it.Tag.Version.String())
		}
	}
	return out
}

func (r *rig) want(what string, got, want any) {
	r.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// done checks that nothing is left, and that everything was given back.
func (r *rig) done() {
	r.t.Helper()
	r.want("keys in hand", r.m.Keys(), 0)
	r.want("updates held", r.m.Updates(), 0)
	r.want("idle", r.m.Idle(), true)
	r.want("the floor", r.m.Floor().Value(), r.m.Floor().Last())
	r.want("bytes given back", r.given, r.taken)
	for key, n := range r.pins {
		if n != 0 {
			r.t.Errorf("%s has %d pins", key, n)
		}
	}
}

package lanes

import (
	"maps"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A headed message has headers and nothing else.
type headed struct {
	jetstream.Msg
	header nats.Header
}

func (m headed) Headers() nats.Header { return m.header }

// Who is not sure looks first, which costs a call; who is sure and wrong makes a second
// object in the target.
func TestOnlyWhatNobodyCanHaveCalledIsSure(t *testing.T) {
	const now = wire.Incarnation(9 << 32)
	tag := versioning.Tag{Version: testkit.Number(3)}
	deleted := wire.Record{
		Format: wire.Format, State: wire.StateSettled, Settled: tag, Applied: wire.Applied{Tag: tag, Op: events.Delete}, Sequence: 40,
		LogPosition: wire.LogPosition{Incarnation: now, Seq: 7},
	}
	change := func(f func(*wire.Record)) wire.Record {
		r := deleted
		f(&r)
		return r
	}
	for name, tt := range map[string]struct {
		seq      uint64
		behind   string
		rec      wire.Record
		restored bool
		parked   bool
		every    bool
		replay   bool
		sure     bool
	}{
		"the first of its key":                       {seq: 51, behind: "0", sure: true},
		"the first, but it was there before":         {seq: 50, behind: "0"},
		"the first, after a restore":                 {seq: 51, behind: "0", restored: true},
		"the first for extsync, not in the stream":   {seq: 51, behind: "44"},
		"it was published without a check":           {seq: 51, behind: ""},
		"a header that is no number":                 {seq: 51, behind: "x"},
		"behind a delete that was delivered":         {seq: 51, behind: "40", rec: deleted, sure: true},
		"behind what has left the work queue":        {seq: 51, behind: "0", every: true, rec: deleted, sure: true},
		"behind what the stream has lost":            {seq: 51, behind: "0", rec: deleted},
		"of a work queue that was made again":        {seq: 51, behind: "0", every: true, rec: change(func(r *wire.Record) { r.Sequence = 60 })},
		"behind what is parked":                      {seq: 51, behind: "0", every: true, rec: change(func(r *wire.Record) { r.Head = tag })},
		"behind another one than the delete":         {seq: 51, behind: "49", rec: deleted},
		"behind a delete of before a restore":        {seq: 51, behind: "40", rec: change(func(r *wire.Record) { r.Incarnation-- })},
		"behind a delete while something is retried": {seq: 51, behind: "40", rec: change(func(r *wire.Record) { r.State = wire.StateRetrying })},
		"behind a delete while a call is open":       {seq: 51, behind: "40", rec: change(func(r *wire.Record) { r.Open = testkit.Number(2) })},
		"the delete was given up":                    {seq: 51, behind: "40", rec: change(func(r *wire.Record) { r.Applied.Version = testkit.Number(2) })},
		"behind an upsert that left an id": {seq: 51, behind: "40", sure: true, rec: change(func(r *wire.Record) {
			r.Applied.Op, r.Refs = events.Upsert, events.Refs{"id": "7"}
		})},
		"behind an upsert":            {seq: 51, behind: "40", rec: change(func(r *wire.Record) { r.Applied.Op = events.Upsert })},
		"read from the parked stream": {seq: 51, behind: "0", parked: true},
		"a replay":                    {seq: 51, behind: "0", replay: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := New(Options{Remembers: true, Incarnation: now, Latest: !tt.every})
			m.Begins(50, !tt.restored, false)
			it := &Item{Seq: tt.seq, Msg: headed{header: nats.Header{}}, Replay: tt.replay}
			if tt.behind != "" {
				it.Msg.Headers().Set(wire.HeaderExpectedSeq, tt.behind)
			}
			if tt.parked {
				it.Msg = nil
			}
			if m.remember(&Lane{}, it, &tt.rec); it.Unsure == tt.sure {
				t.Errorf("unsure: %t", it.Unsure)
			}
			if m.remember(&Lane{unsure: true}, it, &tt.rec); !it.Unsure {
				t.Error("a call had no answer, and it is sure")
			}
		})
	}
}

// Somebody may take the lookup out of a channel, and put it back: ids must be there still.
func TestRefsStayWhereTheyAreNotUsed(t *testing.T) {
	m, it := New(Options{}), &Item{Update: events.Update{Op: events.Upsert}}
	m.remember(&Lane{unsure: true}, it, &wire.Record{Refs: events.Refs{"id": "7"}})
	if got := refsAfter(it, &connectors.Result{}); got["id"] != "7" || it.Unsure {
		t.Errorf("%v is left, unsure %t", got, it.Unsure)
	}
}

func TestCallWithoutAnAnswerMakesTheKeyUnsure(t *testing.T) {
	for name, tt := range map[string]struct {
		res  connectors.Result
		want bool
	}{
		"no answer":       {connectors.Result{Code: "timeout"}, true},
		"an answer 503":   {connectors.Result{Code: "503"}, true},
		"nobody there":    {connectors.Result{Code: connectors.CodeRefused}, false},
		"it was refused":  {connectors.Result{Class: connectors.Permanent}, false},
		"it was not sent": {connectors.Result{Unasked: true}, false},
		"it is there":     {connectors.Result{Class: connectors.OK}, false},
	} {
		if got := mayHaveCalled(&tt.res); got != tt.want {
			t.Errorf("%s: %t, want %t", name, got, tt.want)
		}
	}
}

func TestRefsAfterADelivery(t *testing.T) {
	held := events.Refs{"id": "7"}
	it := &Item{Update: events.Update{Op: events.Upsert}, Refs: held}
	if got := refsAfter(it, &connectors.Result{Remember: connectors.Refs{"etag": "b"}}); !maps.Equal(got, events.Refs{"id": "7", "etag": "b"}) {
		t.Errorf("an upsert: %v", got)
	}
	if got := refsAfter(it, &connectors.Result{Remember: connectors.Refs{"etag": strings.Repeat("x", events.MaxRefs)}}); !maps.Equal(got, held) {
		t.Errorf("what is too long: %v", got)
	}
	it.Update.Op = events.Delete
	if got := refsAfter(it, &connectors.Result{}); got != nil {
		t.Errorf("a delete: %v", got)
	}
}

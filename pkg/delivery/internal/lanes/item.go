package lanes

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// An Item is an update that this worker holds. It belongs to the lanes, but while its
// lane is being attempted whoever makes the call may read it, and write what is in Rim.
type Item struct {
	Update    events.Update
	Tag       versioning.Tag
	Malformed error // what keeps the update from being read
	Seq       uint64
	Published time.Time     // when the broker stored it; zero if that is not known
	Came      time.Time     // to this worker
	Msg       jetstream.Msg // the newest copy: only its ack reaches the consumer; nil once parked
	Size      int           // of the share of the byte budget; given back when it is let go
	Parked    uint64        // sequence in the parked stream; 0: in the channel's
	Replay    bool          // of a dead letter, and in no stream
	Reset     bool          // not an update: the mark that the key was reset; malformed, too
	Resync    *Resync       // that delivers it again; nil for what is live
	Fill      *Resync       // that brings it to a new channel, behind all else that is live
	Refs      events.Refs   // what the target gave for the key; known when it is judged
	Unsure    bool          // the target may have what Refs do not tell of; likewise
	Has       bool          // an upsert was delivered last; likewise
	Tries     Tries
	Rim       Rim
	refused   bool // its reply subject is not allowed; said once
	keptBack  bool // by the filter, in a resync
	// letter could not be stored yet: it is tried again without a call.
	letter *Letter
	// copied: its move failed, and the parked stream may have it all the same.
	copied bool
	// told: it is parked, and the ledger knows of it or of a newer one: its message may go.
	told bool
}

// Tries are what was tried to deliver an update.
type Tries struct {
	Spent   int                // attempts so far that count, of former owners too
	Made    int                // attempts so far; of former owners those that count
	First   time.Time          // first attempt by this worker
	failed  time.Time          // last attempt that counted
	logged  time.Time          // when a failed attempt was last written to the outcome log
	failure *events.Settlement // why it failed last, here
	resumed bool               // attempts of a former owner were taken over
	alone   bool               // not in a batch: it has broken one
	// trying is for how long it has been tried without success, but for times in
	// which nobody could.
	trying time.Duration
}

// A Rim is what the owner keeps with an update. The lanes do not look at it.
type Rim struct {
	Raw      *jetstream.RawStreamMsg // content of a parked update while it is attempted
	Kept     int                     // bytes of a parked update that stay between attempts; 0: none
	Trace    *trace.SpanContext      // of its first attempt, if its publisher gave none
	Lettered bool                    // given up, and its key had dead letters before
	Older    bool                    // read from the parked stream: a former owner may have attempted a newer version
	Replayed func(Replayed)          // hears what came of a replay; must not block
}

// A Place tells an update in a channel's stream from all others. Its sequence alone
// does not: a broker that was restored gives it again, while the parked stream may have
// the update that had it before.
type Place struct {
	seq    uint64
	stored int64 // nanoseconds since the Unix epoch
}

// Where returns the update's place.
func (it *Item) Where() Place { return Place{it.Seq, it.Published.UnixNano()} }

// String returns the place as part of the id of a message that is about the update.
func (p Place) String() string {
	return strconv.FormatUint(p.seq, 10) + ":" + strconv.FormatInt(p.stored, 36)
}

// isOlder reports whether v is surely older than w.
func isOlder(v, w versioning.Version) bool {
	c, err := v.Compare(w)
	return err == nil && c < 0
}

// sameKind reports whether two versions can be compared.
func sameKind(v, w versioning.Version) bool {
	_, err := v.Compare(w)
	return err == nil
}

// Live reports whether the update is neither a replay nor of a resync.
func (it *Item) Live() bool { return it.Resync == nil && !it.Replay }

// overtakes reports whether the update is surely newer than another one of its key, so
// that a latest channel need not deliver that.
func (it *Item) overtakes(old *Item) bool {
	return it.Malformed == nil && old.Malformed == nil && isOlder(old.Tag.Version, it.Tag.Version)
}

// failedAt adds the time since the last failed attempt to that for which the update has
// been tried, as far as the circuit was closed: since a time, or, if that is zero, not at
// all.
func (t *Tries) failedAt(now, closed time.Time) {
	if !t.failed.IsZero() && !closed.IsZero() {
		t.trying += now.Sub(later(t.failed, closed))
	}
	t.failed = now
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

package lanes

import (
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
)

// Actions are what has to be done after an event. They add up over events until Clear,
// and their memory is used again. The owner carries them out in any order, but for what
// is in one slice, whose order counts, and Unpin, which comes after Commits.
type Actions struct {
	// Commits are to be written to the outcome log. Each needs a pin of its key, which
	// Committed puts into Unpin.
	Commits []Commit
	// Letters are dead letters to be stored; then call Stored, or Unstored.
	Letters []Letter
	// Again are acks to be sent once more; then call SentAgain, or Postpone.
	Again []Repeat
	// Ended are updates that somebody waits for who has had them given up.
	Ended []Ended
	// Replayed are replays that are over.
	Replayed []Replayed
	// Park are lanes whose updates are to be moved to the parked stream, see NextMove.
	Park []*Lane
	// Load are lanes whose next parked updates are to be read; then call Loaded, or
	// LoadFailed.
	Load []*Lane
	// Delete are settled updates' sequences in the parked stream.
	Delete []uint64
	// Acks are messages of a work queue that are settled.
	Acks []Ack
	// Unload are parked updates that wait for their next attempt, Drop those of which
	// nothing is needed in memory any more.
	Unload, Drop []*Item
	// Unpin are keys of which one pin is given back.
	Unpin []*ledger.Key
	// Refused are updates whose reply subject is not allowed. Each is told of once.
	Refused []*Item
	Give    int // bytes that go back to the budget
	Wake    Wake
}

// A Wake says who has to look again.
type Wake struct {
	Pull     bool // there is room in the window
	Dispatch bool // a lane could be attempted
	Resync   bool // there is room for the updates of a resync
	Refresh  bool // what is held is to be given back and read again
	Flush    bool // what goes with the ledger's records has changed
	Tidy     bool // the parked stream may hold what is settled
}

// A Commit is an entry on its way into the log.
type Commit struct {
	Key   *ledger.Key // the entry's
	Entry wire.Entry
	Item  *Item // what it settles; nil for a failed attempt
	Lane  *Lane // whose head it is, or that waits for it; nil if it left its lane before
	// Parked are updates that the parked stream has: their messages are let go once the
	// entry, which tells the newest of them, is in the log.
	Parked []*Item
	// Done, if any, is the owner's, to be called once the entry is in the log and the view.
	Done func()
}

// waited reports whether an update or a lane waits for the commit.
func (c *Commit) waited() bool { return c.Item != nil || c.Lane != nil || c.Parked != nil }

// A Letter is the dead letter of a lane's head, with the entry that follows it into the log.
type Letter struct {
	Lane     *Lane
	Item     *Item
	Entry    wire.Entry
	Response string // of the target; more of it than in Entry
}

// A Repeat is the ack of a lane's head whose outcome is in the log already.
type Repeat struct {
	Lane  *Lane
	Item  *Item
	Entry wire.Entry
}

// An Ack is a message that is settled.
type Ack struct {
	Seq uint64
	Msg jetstream.Msg
}

// Todo returns what has to be done. It is valid until the next event.
func (m *Lanes) Todo() *Actions { return &m.todo }

// Clear says that everything is being done. Letters and Again are left: whoever caused
// them takes them with TakeErrands.
func (a *Actions) Clear() {
	a.Commits = empty(a.Commits)
	a.Ended = empty(a.Ended)
	a.Replayed = empty(a.Replayed)
	a.Park = empty(a.Park)
	a.Load = empty(a.Load)
	a.Delete = a.Delete[:0]
	a.Acks = empty(a.Acks)
	a.Unload = empty(a.Unload)
	a.Drop = empty(a.Drop)
	a.Unpin = empty(a.Unpin)
	a.Refused = empty(a.Refused)
	a.Give = 0
	a.Wake = Wake{}
}

// empty returns a slice without elements, in the same memory, which refers to nothing.
func empty[T any](s []T) []T {
	clear(s)
	return s[:0]
}

// TakeErrands appends Letters and Again to the caller's own: they take a while, in which
// there are other events.
func (a *Actions) TakeErrands(letters []Letter, again []Repeat) ([]Letter, []Repeat) {
	letters, again = append(letters, a.Letters...), append(again, a.Again...)
	a.Letters, a.Again = empty(a.Letters), empty(a.Again)
	return letters, again
}

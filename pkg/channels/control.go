package channels

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// What the owner of a partition is asked for.
const (
	ControlReset  = "reset"   // to forget a key
	ControlReplay = "replay"  // to send the update of a dead letter again
	ControlGiveUp = "give_up" // to end the pending update of a key
	ControlRefs   = "refs"    // to set what is remembered of a key
)

// A ControlRequest goes to the owner of a partition on wire.Control; the owner
// answers with a ControlReply.
type ControlRequest struct {
	Format int         `json:"f"`
	Op     string      `json:"op"`
	Key    string      `json:"key,omitempty"`    // of all but ControlReplay
	Void   *wire.Void  `json:"void,omitempty"`   // of ControlReset: what no longer counts
	Refs   events.Refs `json:"refs,omitempty"`   // of ControlRefs: all there are from then on
	Letter uint64      `json:"letter,omitempty"` // of ControlReplay: its sequence
}

// A ControlReply has an empty Error if the request was carried out.
type ControlReply struct {
	Format int    `json:"f"`
	Error  string `json:"error,omitempty"`
	// The answer to ControlProbe, as in Progress.
	Worker    string `json:"worker,omitempty"`
	Circuit   string `json:"circuit,omitempty"`
	Reason    string `json:"reason,omitempty"`
	NextProbe int64  `json:"next_probe,omitempty"`
	// Replayed is the answer to ControlReplay.
	Replayed *Replayed `json:"replayed,omitempty"`
	// Settled is the answer to ControlGiveUp: the outcome of the update.
	Settled *events.Settlement `json:"settled,omitempty"`
	// ReadBack is the answer to ControlReadBack.
	ReadBack *ReadBack `json:"read_back,omitempty"`
}

var (
	// ErrKeyBusy says that updates of the key are on their way.
	ErrKeyBusy = errors.New("the key has updates in flight; pause publishing it and try again")
	// ErrNoOwner says that no worker works on the key's partition.
	ErrNoOwner = errors.New("no worker works on the partition: 'extsync status' says why")
	// ErrReset says that the owner could not reset a key.
	ErrReset = errors.New("the key was not reset")
)

// ResetKey makes a channel forget what it knows of a key: ledger, newest version
// and dead letters, whose versions mean nothing any more. It is for a platform
// that was restored from a backup and counts its versions anew; the target is not
// touched, and one that guards itself still refuses what it holds to be older. It
// may be repeated if it fails. The key of a channel that reads a topic is reset with the
// topic's: events.ErrReadsTopic.
func (r *Registry) ResetKey(ctx context.Context, channel, key string) error {
	e, err := r.Get(ctx, channel)
	if err != nil {
		return err
	}
	if e.Config.From != nil {
		return fmt.Errorf("%w: channel %s reads topic %s: reset the topic's key", events.ErrReadsTopic, channel, e.Config.From.Topic)
	}
	return r.reset(ctx, e.Config.Route(), []Entry{e}, key)
}

// ResetTopicKey is ResetKey for the key of a topic and all channels that read it. Of one
// that is deleted and could be restored nobody can reset it: ErrDeleted.
func (r *Registry) ResetTopicKey(ctx context.Context, topic, key string) error {
	if _, err := r.Topic(ctx, topic); err != nil {
		return err
	}
	readers, err := r.Readers(ctx, topic)
	if err != nil {
		return err
	}
	for _, e := range readers {
		if !e.Deleted.IsZero() {
			return fmt.Errorf("%w; restore it, or remove it with 'extsync channels delete %s --purge', first", deletedError(e), e.Config.Name)
		}
	}
	return r.reset(ctx, events.ToTopic(topic), readers, key)
}

// reset resets a key of a route whose updates channels bring to their targets.
func (r *Registry) reset(ctx context.Context, route events.Route, of []Entry, key string) error {
	enc, err := events.EncodeKey(key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	letters, err := r.js.Stream(ctx, wire.DeadStream(r.names))
	if err != nil {
		return fmt.Errorf("reset key: %w", err)
	}
	updates, err := r.js.Stream(ctx, wire.UpdateStream(r.names, route))
	if err != nil {
		return fmt.Errorf("reset key: %w", err)
	}
	// What is stored later is of new versions.
	void := &wire.Void{Updates: end(updates), Letters: end(letters), At: time.Now().UTC().Truncate(time.Millisecond)}
	// The ledger first: between this and the last step the old newest version still
	// keeps publishers from starting anew, so nothing can be lost there. Its record says
	// what is void, for whatever of that a killed broker brings back.
	for i := range of {
		if err := r.resetLedger(ctx, of[i].Config, key, enc, void); err != nil {
			return err
		}
		old := jetstream.WithPurgeSubject(wire.DeadLetter(r.names, of[i].Config.Name, enc))
		if err := letters.Purge(ctx, old, jetstream.WithPurgeSequence(void.Letters.Sequence+1)); err != nil {
			return fmt.Errorf("reset key: remove its dead letters: %w", err)
		}
	}
	if err := r.resetHead(ctx, route, updates, enc, void); err != nil {
		return fmt.Errorf("reset key: end its newest version: %w", err)
	}
	return nil
}

// end returns the last place in a stream.
func end(s jetstream.Stream) wire.Mark {
	state := s.CachedInfo().State
	return wire.Mark{Sequence: state.LastSeq, Stored: state.LastTime}
}

// resetHead lets the versions of a key start anew for publishers. In a stream that is no
// work queue a message takes the place of the newest update: were it removed, the update before it
// would be the head again once a broker was killed.
func (r *Registry) resetHead(ctx context.Context, route events.Route, updates jetstream.Stream, enc string, void *wire.Void) error {
	stored := wire.StoredUpdate(r.names, route, enc)
	if updates.CachedInfo().Config.Retention == jetstream.WorkQueuePolicy {
		return updates.Purge(ctx, jetstream.WithPurgeSubject(stored), jetstream.WithPurgeSequence(void.Updates.Sequence+1))
	}
	head, err := wire.ReadFromLeader(ctx, r.js, wire.UpdateStream(r.names, route), wire.MessageQuery{LastOn: stored})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		head = &jetstream.RawStreamMsg{}
	case err != nil:
		return err
	case !void.Updates.Covers(head.Sequence, head.Time):
		return ErrKeyBusy // a version that was published before the ledger forgot the older ones
	}
	_, err = r.js.PublishMsg(ctx, wire.ResetMessage(r.names, route, enc, void.At), jetstream.WithExpectLastSequencePerSubject(head.Sequence))
	switch {
	case wire.IsWrongSequence(err):
		return ErrKeyBusy
	case wire.IsFull(err):
		return fmt.Errorf("%w: %s: %w", events.ErrFull, route, err)
	}
	return err
}

// resetLedger has the owner of a key's partition make the ledger forget it.
func (r *Registry) resetLedger(ctx context.Context, c Config, key, enc string, void *wire.Void) error {
	partition := wire.Partition(enc, c.Partitions)
	reply, err := r.control(ctx, c.Name, partition, ControlRequest{Format: wire.Format, Op: ControlReset, Key: key, Void: void})
	if errors.Is(err, ErrNoOwner) {
		return err
	}
	if err != nil {
		return fmt.Errorf("reset key: %w", err)
	}
	if reply.Error != "" {
		return fmt.Errorf("%w: %s", ErrReset, reply.Error)
	}
	return nil
}

// ErrNoAnswer says that the owner of a partition was asked and has not answered.
var ErrNoAnswer = errors.New("no answer")

// askPatience is for how long an owner's answer is awaited: an attempt may be under way.
const askPatience = 20 * time.Second

// ask asks the owner of a key's partition to do something that takes an attempt, and returns
// its answer. refused is what an answer that is none wraps, or one that does not come; then
// the thing that is named is to be looked at again.
func (r *Registry) ask(ctx context.Context, channel, enc string, what ControlRequest, refused error, thing string) (ControlReply, error) {
	e, err := r.Get(ctx, channel)
	if err != nil {
		return ControlReply{}, err
	}
	if !e.Deleted.IsZero() {
		return ControlReply{}, deletedError(e)
	}
	asked := ctx
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	what.Format = wire.Format
	reply, err := r.control(ctx, channel, wire.Partition(enc, e.Config.Partitions), what)
	switch {
	case errors.Is(err, context.DeadlineExceeded) && asked.Err() == nil: // the worker has died
		return ControlReply{}, fmt.Errorf("%w: %w in %s; it may have been all the same: look at the %s again", refused, ErrNoAnswer, askPatience, thing)
	case err == nil && reply.Error != "":
		return ControlReply{}, fmt.Errorf("%w: %s", refused, reply.Error)
	}
	return reply, err
}

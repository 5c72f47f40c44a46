package channels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// ControlResync tells the owner of a partition to look at the channel's resync
// again.
const ControlResync = "resync"

// Errors of a resync.
var (
	// ErrNoResync says that the channel has never been resynced, or not lately.
	ErrNoResync = errors.New("the channel has no resync")
	// ErrResyncActive says that one is under way, or paused.
	ErrResyncActive = errors.New("a resync of the channel is not finished; stop it first")
	// ErrFilling says that the channel is new and still gets what its topic had: that cannot
	// be stopped, or keys would stay away.
	ErrFilling = errors.New("the channel still gets what its topic had when it was made")
	// ErrNothingKept says that a channel keeps no payloads to deliver again.
	ErrNothingKept = errors.New("cannot be resynced: a channel of mode \"every\" keeps no update once it is settled")
	// ErrSelection says that the keys of a resync cannot be used.
	ErrSelection = errors.New("invalid selection of keys")
	// ErrUnknownKey says that there is no update of a key, see CheckKeys.
	ErrUnknownKey = errors.New("unknown key")
)

// MaxResyncKeys bounds the keys that one resync may name.
const MaxResyncKeys = 1000

// A Selection says which keys of a channel are meant: those listed, or else
// those that begin with Prefix. The zero value means all.
type Selection struct {
	Keys   []string `json:"keys,omitempty"`
	Prefix string   `json:"prefix,omitempty"`
}

// Has reports whether a key is selected.
func (s *Selection) Has(key string) bool {
	for _, k := range s.Keys {
		if k == key {
			return true
		}
	}
	return len(s.Keys) == 0 && strings.HasPrefix(key, s.Prefix)
}

// Validate checks the selection; the error wraps ErrSelection.
func (s *Selection) Validate() error {
	if len(s.Keys) > MaxResyncKeys {
		return fmt.Errorf("%w: %d keys are more than %d; use a prefix, or all", ErrSelection, len(s.Keys), MaxResyncKeys)
	}
	if len(s.Keys) > 0 && s.Prefix != "" {
		return fmt.Errorf("%w: either keys or a prefix", ErrSelection)
	}
	if len(s.Prefix) > events.MaxKeyLen {
		return fmt.Errorf("%w: the prefix is longer than a key can be", ErrSelection)
	}
	for _, key := range s.Keys {
		if _, err := events.EncodeKey(key); err != nil {
			return fmt.Errorf("%w: %w", ErrSelection, err)
		}
	}
	return nil
}

// ResyncState is what an operator wants of a resync.
type ResyncState string

// The states of a resync. A running one is over when every partition is done.
const (
	ResyncRunning ResyncState = "running"
	ResyncPaused  ResyncState = "paused"
	ResyncStopped ResyncState = "stopped"
	ResyncDone    ResyncState = "done" // never stored: it follows from the partitions
)

// A Resync delivers the current version of every selected key of a channel
// again, also where the target should have it already.
type Resync struct {
	Format int    `json:"f"`
	ID     string `json:"id"`
	// ChannelID is Entry.ID: what was wanted of a former channel of the name is not
	// wanted of this one.
	ChannelID string      `json:"channel_id"`
	State     ResyncState `json:"state"`
	// Fill: the channel is new, and what its topic had then is delivered for the first time.
	Fill bool `json:"fill,omitempty"`
	Selection
	// Upto is the last sequence of the channel's stream when the resync began:
	// what came later is delivered anyway. It holds for the stream that was
	// created at StreamCreated (nanoseconds since the Unix epoch).
	Upto          uint64 `json:"upto"`
	StreamCreated int64  `json:"stream_created"`
	Total         uint64 `json:"total"` // keys that are looked at
	// After is Entry.Fill when the resync began: another one has to be done first. It is for
	// resyncs that are no fill themselves.
	After string `json:"after,omitempty"`
	// Content is that of the configuration when the resync began: a worker that has not heard
	// of it yet would deliver again what an older one made.
	Content wire.ContentID `json:"content,omitempty"`
	Started time.Time      `json:"started"`
}

// ResyncProgress is how far the owner of a partition has come with a resync.
type ResyncProgress struct {
	Format int    `json:"f"`
	ID     string `json:"id"`
	// Incarnation is that of the installation in which it was written: in another one
	// the partition begins again.
	Incarnation wire.Incarnation `json:"incarnation"`
	// Cursor: every update of the partition up to this sequence is dealt with.
	Cursor    uint64 `json:"cursor"`
	Delivered uint64 `json:"delivered"`
	// Skipped keys have a newer version on its way, or one that has an outcome.
	Skipped  uint64          `json:"skipped"`
	Failed   uint64          `json:"failed"`
	Failures []ResyncFailure `json:"failures,omitempty"` // the first MaxResyncFailures
	Done     bool            `json:"done"`
	At       time.Time       `json:"at"`
}

// MaxResyncFailures bounds the failures that a partition's progress describes.
const MaxResyncFailures = 20

// A ResyncFailure says why a key could not be delivered again. Its ledger record
// stays as it was.
type ResyncFailure struct {
	Key     string `json:"key"`
	Version string `json:"version"`
	Class   string `json:"class"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// Response is the beginning of what the target answered, see events.Settlement.
	Response string `json:"response,omitempty"`
}

// A ResyncStatus adds up the progress of all partitions. State is ResyncDone when
// each of them is done.
type ResyncStatus struct {
	Resync
	Delivered uint64          `json:"delivered"`
	Skipped   uint64          `json:"skipped"`
	Failed    uint64          `json:"failed"`
	Failures  []ResyncFailure `json:"failures,omitempty"`
}

// Looked returns how many keys have been dealt with.
func (s *ResyncStatus) Looked() uint64 { return s.Delivered + s.Skipped + s.Failed }

// CountResync returns how many keys a resync would look at.
func (r *Registry) CountResync(ctx context.Context, channel string, s Selection) (uint64, error) {
	plan, err := r.planResync(ctx, channel, s)
	return plan.Total, err
}

// planResync checks a selection against the channel and its stream.
func (r *Registry) planResync(ctx context.Context, channel string, s Selection) (Resync, error) {
	if err := s.Validate(); err != nil {
		return Resync{}, err
	}
	e, err := r.Get(ctx, channel)
	if err != nil {
		return Resync{}, err
	}
	if e.Config.Mode != Latest {
		return Resync{}, fmt.Errorf("channel %s %w", channel, ErrNothingKept)
	}
	stream, err := r.js.Stream(ctx, wire.UpdateStream(r.names, e.Config.Route()))
	if err != nil {
		return Resync{}, fmt.Errorf("resync: %w", err)
	}
	info := stream.CachedInfo()
	out := Resync{
		Format: wire.Format, ChannelID: e.ID, Selection: s, Upto: info.State.LastSeq,
		StreamCreated: info.Created.UnixNano(), Total: info.State.Msgs, After: e.Fill, Content: e.Content,
	}
	if len(s.Keys) == 0 && s.Prefix == "" {
		return out, nil
	}
	out.Total, err = r.countSelected(ctx, &e.Config, stream, s)
	return out, err
}

func (r *Registry) countSelected(ctx context.Context, c *Config, stream jetstream.Stream, s Selection) (uint64, error) {
	n := uint64(0)
	if len(s.Keys) > 0 {
		for _, key := range s.Keys {
			there, err := r.hasUpdate(ctx, c, key)
			if err != nil {
				return 0, err
			}
			if there {
				n++
			}
		}
		return n, nil
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(wire.StoredUpdates(r.names, c.Route())))
	if err != nil {
		return 0, fmt.Errorf("resync: %w", err)
	}
	for subject, messages := range info.State.Subjects {
		_, enc, _ := wire.SplitStoredUpdate(r.names, subject)
		// A key that is too long for a subject is stored by its hash: it counts as
		// selected here, and is looked at for itself later.
		if key, err := events.DecodeKey(enc); err != nil || s.Has(key) {
			n += messages
		}
	}
	return n, nil
}

func (r *Registry) hasUpdate(ctx context.Context, c *Config, key string) (bool, error) {
	enc, err := events.EncodeKey(key)
	if err != nil {
		return false, err
	}
	_, err = wire.ReadFromLeader(ctx, r.js, wire.UpdateStream(r.names, c.Route()),
		wire.MessageQuery{LastOn: wire.StoredUpdate(r.names, c.Route(), enc)})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("resync: %w", err)
	}
	return true, nil
}

// CheckKeys returns ErrUnknownKey, with up to five of them, if a channel of mode latest has
// no update of some keys. A resync would pass over those: whoever names keys probably
// means keys that are there. Of a channel of another mode it says nothing.
func (r *Registry) CheckKeys(ctx context.Context, channel string, keys []string) error {
	const mostNamed = 5
	e, err := r.Get(ctx, channel)
	if err != nil || e.Config.Mode != Latest {
		return err
	}
	var unknown []string
	for _, key := range keys {
		there, err := r.hasUpdate(ctx, &e.Config, key)
		if err != nil {
			return err
		}
		if !there {
			unknown = append(unknown, strconv.Quote(key))
		}
	}
	switch more := len(unknown) - mostNamed; {
	case len(unknown) == 0:
		return nil
	case more > 0:
		return fmt.Errorf("%w: channel %s has no update of %s and %d others", ErrUnknownKey, channel, strings.Join(unknown[:mostNamed], ", "), more)
	}
	return fmt.Errorf("%w: channel %s has no update of %s", ErrUnknownKey, channel, strings.Join(unknown, ", "))
}

// StartResync has a channel deliver its current versions again. Live updates go
// before it. Workers begin as soon as they own the partitions.
func (r *Registry) StartResync(ctx context.Context, channel string, s Selection) (Resync, error) {
	e, err := r.Get(ctx, channel)
	if err != nil {
		return Resync{}, err
	}
	if err := r.EnsureFill(ctx, e); err != nil {
		return Resync{}, err
	}
	old, err := r.ResyncStatus(ctx, channel)
	switch {
	case errors.Is(err, ErrNoResync):
	case err != nil:
		return Resync{}, err
	case old.Fill && old.State != ResyncDone:
		return Resync{}, fmt.Errorf("%w: %d of %d keys; a resync can follow", ErrFilling, old.Looked(), old.Total)
	case old.State == ResyncRunning || old.State == ResyncPaused:
		return Resync{}, fmt.Errorf("%w: %s, since %s", ErrResyncActive, old.ID, old.Started.Format(time.RFC3339))
	}
	next, err := r.planResync(ctx, channel, s)
	if err != nil {
		return Resync{}, err
	}
	_, revision, err := r.progress.readResync(ctx, channel)
	if err != nil && !errors.Is(err, ErrNoResync) {
		return Resync{}, err
	}
	next.ID, next.State, next.Started = nuid.Next(), ResyncRunning, time.Now().UTC().Truncate(time.Millisecond)
	return next, r.writeResync(ctx, channel, next, revision)
}

// SetResync pauses, resumes or stops the channel's resync.
func (r *Registry) SetResync(ctx context.Context, channel string, state ResyncState) (Resync, error) {
	status, err := r.ResyncStatus(ctx, channel)
	if err != nil {
		return Resync{}, err
	}
	if status.State == ResyncDone || status.State == ResyncStopped {
		return status.Resync, fmt.Errorf("%w: the last one is %s", ErrNoResync, status.State)
	}
	if status.Fill && state == ResyncStopped {
		return status.Resync, fmt.Errorf("%w: %d of %d keys; pause it, or the channel", ErrFilling, status.Looked(), status.Total)
	}
	next, revision, err := r.progress.readResync(ctx, channel)
	if err != nil {
		return Resync{}, err
	}
	next.State = state
	return next, r.writeResync(ctx, channel, next, revision)
}

func (r *Registry) writeResync(ctx context.Context, channel string, next Resync, revision uint64) error {
	if err := r.progress.write(ctx, resyncKey(channel), next, revision); err != nil {
		return err
	}
	e, err := r.Get(ctx, channel)
	if err != nil {
		return err
	}
	data, err := json.Marshal(ControlRequest{Format: wire.Format, Op: ControlResync})
	if err != nil {
		return fmt.Errorf("resync: %w", err)
	}
	for partition := range e.Config.Partitions {
		if err := r.tellOwner(ctx, channel, partition, data); err != nil {
			return fmt.Errorf("resync is recorded, but the owner of partition %d did not answer: %w; it sees it when it takes the partition over", partition, err)
		}
	}
	return nil
}

// tellTries is how often an owner is told, tellPatience for how long it is waited for each time:
// an owner that hands its partition over just then may have taken the request without an answer.
const (
	tellTries    = 3
	tellPatience = 2 * time.Second
)

// tellOwner sends a request to a partition's owner that may be sent again. Having none is fine:
// the next one reads what is recorded.
func (r *Registry) tellOwner(ctx context.Context, channel string, partition int, data []byte) (err error) {
	for range tellTries {
		try, cancel := context.WithTimeout(ctx, tellPatience)
		_, err = r.js.Conn().RequestWithContext(try, wire.Control(r.names, channel, partition), data)
		cancel()
		if errors.Is(err, nats.ErrNoResponders) {
			return nil
		}
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	return err
}

// ResyncStatus returns how far the channel's last resync has come, or
// ErrNoResync.
func (r *Registry) ResyncStatus(ctx context.Context, channel string) (ResyncStatus, error) {
	e, err := r.Get(ctx, channel)
	if err != nil {
		return ResyncStatus{}, err
	}
	resync, _, err := r.progress.readResync(ctx, channel)
	if err != nil {
		return ResyncStatus{}, err
	}
	if !resync.Concerns(&e) {
		return ResyncStatus{}, fmt.Errorf("%w: %s", ErrNoResync, channel)
	}
	status := ResyncStatus{Resync: resync}
	done := true
	for partition := range e.Config.Partitions {
		p, err := r.progress.ReadResyncProgress(ctx, channel, e.Generation, partition)
		if err != nil {
			return ResyncStatus{}, err
		}
		if p.ID != resync.ID {
			done = false
			continue
		}
		done = done && p.Done
		status.Delivered += p.Delivered
		status.Skipped += p.Skipped
		status.Failed += p.Failed
		status.Failures = append(status.Failures, p.Failures...)
	}
	if done && status.State != ResyncStopped {
		status.State = ResyncDone
	}
	return status, nil
}

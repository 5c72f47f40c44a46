package channels

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/hms-utl/extsync/internal/wire"
)

// Concerns reports whether a resync is for the channel as it is: one that fills a channel is
// that of its entry, and any other comes after that.
func (s *Resync) Concerns(e *Entry) bool {
	if s.ChannelID != e.ID {
		return false
	}
	return s.Fill && s.ID == e.Fill || !s.Fill && s.After == e.Fill
}

// beginFill prepares the entry of a channel that reads a topic, and is about to be made or to
// take other keys. A new one begins with what is published from now on, and gets what the
// topic has by a second cursor: live updates need not wait for that. One that takes other
// keys reads all of the topic again: what it has is recognised. EnsureFill records the second
// cursor when the entry is stored.
func (r *Registry) beginFill(ctx context.Context, e *Entry, change Change) error {
	c := &e.Config
	stream, err := r.topicStreamOf(ctx, c)
	if err != nil {
		return err
	}
	if change == Created {
		e.Fill = ""
		if err := r.writeFirst(ctx, e, stream); err != nil {
			return err
		}
		if stream.CachedInfo().State.Msgs == 0 {
			return nil
		}
	} else if status, err := r.ResyncStatus(ctx, c.Name); err == nil && !status.Fill && (status.State == ResyncRunning || status.State == ResyncPaused) {
		return fmt.Errorf("channel %s: %w", c.Name, ErrResyncActive)
	} else if err != nil && !errors.Is(err, ErrNoResync) {
		return err
	}
	e.Fill = nuid.Next()
	return nil
}

func (r *Registry) topicStreamOf(ctx context.Context, c *Config) (jetstream.Stream, error) {
	stream, err := r.js.Stream(ctx, wire.UpdateStream(r.names, c.Route()))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("channel %s: %w; 'extsync doctor' says more", c.Name, &TopicNotFoundError{c.From.Topic})
	}
	if err != nil {
		return nil, fmt.Errorf("channel %s: read its topic: %w", c.Name, err)
	}
	return stream, nil
}

// writeFirst has the partitions of a new channel begin at the end of its topic. Their
// generation is nobody's: a record that is there is of somebody who makes the same channel.
func (r *Registry) writeFirst(ctx context.Context, e *Entry, topic jetstream.Stream) error {
	state, created := topic.CachedInfo().State, topic.CachedInfo().Created.UnixNano()
	log, err := r.js.Stream(ctx, wire.OutcomeStream(r.names))
	if err != nil {
		return fmt.Errorf("read the outcome log: %w", err)
	}
	first := Progress{
		Floor: state.LastSeq, FloorTime: state.LastTime.UnixNano(), StreamCreated: created, LogSeq: log.CachedInfo().State.LastSeq, Clean: true,
	}
	if state.LastSeq == 0 {
		first.FloorTime = 0
	}
	for p := range e.Config.Partitions {
		_, err := r.progress.Write(ctx, e.Config.Name, e.Generation, p, first, 0)
		if errors.Is(err, ErrProgressChanged) {
			return fmt.Errorf("%w: channel %s is being made: %w", ErrRevision, e.Config.Name, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// EnsureFill records that a channel is to get what its topic has, where its entry says so and
// the record does not: whoever stored the entry may have died before. It may be repeated.
func (r *Registry) EnsureFill(ctx context.Context, e Entry) error {
	if e.Fill == "" {
		return nil
	}
	for tries := 0; ; tries++ {
		err := r.ensureFill(ctx, e)
		// Somebody else has written the record meanwhile: a worker, the same.
		if !errors.Is(err, ErrResyncActive) || tries == fillTries {
			return err
		}
	}
}

// fillTries bounds how often EnsureFill meets a record that somebody has just changed.
const fillTries = 8

func (r *Registry) ensureFill(ctx context.Context, e Entry) error {
	was, revision, err := r.progress.readResync(ctx, e.Config.Name)
	if err != nil && !errors.Is(err, ErrNoResync) {
		return err
	}
	if err == nil && was.Concerns(&e) {
		return nil
	}
	stream, err := r.topicStreamOf(ctx, &e.Config)
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	fill := Resync{
		Format: wire.Format, ID: e.Fill, ChannelID: e.ID, State: ResyncRunning, Fill: true, Selection: Selection{Prefix: e.Config.From.Keys},
		Upto: info.State.LastSeq, StreamCreated: info.Created.UnixNano(), Total: info.State.Msgs, Started: time.Now().UTC().Truncate(time.Millisecond),
	}
	if was.Fill && was.ChannelID == e.ID && was.State == ResyncPaused {
		fill.State = ResyncPaused
	}
	return r.progress.write(ctx, resyncKey(e.Config.Name), fill, revision)
}

// filling returns how much of what its topic had a channel has not looked at yet; 0 if
// nothing is left, or the channel reads no topic.
func (r *Registry) filling(ctx context.Context, e Entry) (left, total uint64, err error) {
	if e.Config.From == nil {
		return 0, 0, nil
	}
	status, err := r.ResyncStatus(ctx, e.Config.Name)
	if errors.Is(err, ErrNoResync) || err == nil && (!status.Fill || status.State == ResyncDone) {
		return 0, 0, nil
	}
	left = max(status.Total, status.Looked()) - status.Looked()
	if left == 0 && status.Total > 0 {
		left = 1 // what came meanwhile was looked at, too: some of the others are in hand
	}
	return left, status.Total, err
}

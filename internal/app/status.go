package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// A ChannelStatus is how a channel stands.
type ChannelStatus struct {
	Channel string        `json:"channel"`
	Mode    channels.Mode `json:"mode"`
	State   string        `json:"state"` // active, paused, changing or deleted
	// Undelivered updates; an upper bound where a partition has no worker.
	Undelivered uint64 `json:"undelivered"`
	// Oldest is when the oldest of them was published; zero if there is none.
	Oldest time.Time `json:"oldest,omitzero"`
	// Dead letters, resolved ones too.
	Dead uint64 `json:"dead_letters"`
	// Circuit is the worst of the partitions: closed, open or blocked; "" if no
	// worker has said. Reason says why it is not closed.
	Circuit string `json:"circuit,omitempty"`
	Reason  string `json:"reason,omitempty"`
	// Restored is when a worker found that the broker holds older files than before,
	// without a new incarnation; zero if none has.
	Restored time.Time `json:"restored,omitzero"`
	// Workers that were on the partitions last.
	Workers []string `json:"workers"`
	// Bytes that the channel's stream holds, of MaxBytes.
	Bytes    uint64 `json:"bytes"`
	MaxBytes int64  `json:"max_bytes"`

	// Published counts all updates ever stored: two looks give a rate.
	Published uint64 `json:"published"`
}

// ChannelState returns the state of a channel in a word.
func ChannelState(e channels.Entry) string {
	switch {
	case !e.Deleted.IsZero():
		return "deleted"
	case e.Gated:
		return "changing" // its partitions
	case e.Paused():
		return "paused"
	default:
		return "active"
	}
}

// statusAtOnce bounds how many channels are looked at side by side.
const statusAtOnce = 8

// Status tells how every channel stands, or one if it is named. It asks for a few
// numbers of each partition and reads no stream.
func (c *Client) Status(ctx context.Context, channel string) ([]ChannelStatus, error) {
	entries, err := c.channels(ctx, channel)
	if err != nil {
		return nil, err
	}
	registry, err := c.Registry(ctx)
	if err != nil {
		return nil, err
	}
	progress, err := channels.OpenProgress(ctx, c.JS, c.Names)
	if err != nil {
		return nil, err
	}
	dead, err := c.JS.Stream(ctx, c.Names.DeadStream())
	if err != nil {
		return nil, fmt.Errorf("read the dead letters: %w", err)
	}
	look := looker{c, registry, progress, dead}
	out := make([]ChannelStatus, len(entries))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(statusAtOnce)
	for i, e := range entries {
		group.Go(func() error {
			var err error
			if out[i], err = look.channel(ctx, e); err != nil {
				return fmt.Errorf("channel %s: %w", e.Config.Name, err)
			}
			return nil
		})
	}
	return out, group.Wait()
}

type looker struct {
	c        *Client
	registry *channels.Registry
	progress *channels.ProgressStore
	dead     jetstream.Stream
}

func (l looker) channel(ctx context.Context, e channels.Entry) (ChannelStatus, error) {
	name := e.Config.Name
	s := ChannelStatus{Channel: name, Mode: e.Config.Mode, State: ChannelState(e), Workers: []string{}, MaxBytes: int64(e.Config.MaxBytes)}
	stream, err := l.c.JS.Stream(ctx, l.c.Names.UpdateStream(name))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s.State = "no stream"
		return s, nil
	}
	if err != nil {
		return s, err
	}
	state := stream.CachedInfo().State
	s.Published, s.Bytes = state.LastSeq, state.Bytes
	if s.Undelivered, err = l.registry.Undelivered(ctx, name); err != nil {
		return s, err
	}
	info, err := l.dead.Info(ctx, jetstream.WithSubjectFilter(l.c.Names.DeadFilter(name)))
	if err != nil {
		return s, err
	}
	for _, n := range info.State.Subjects {
		s.Dead += n
	}
	floors := make([]uint64, e.Config.Partitions)
	for p := range floors {
		progress, _, err := l.progress.Read(ctx, name, e.Generation, p)
		if err != nil {
			return s, err
		}
		s.add(&progress)
		floors[p] = progress.Floor
		if progress.StreamCreated != stream.CachedInfo().Created.UnixNano() {
			floors[p] = 0
		}
	}
	slices.Sort(s.Workers)
	if s.Undelivered > 0 {
		s.Oldest, err = l.oldest(ctx, name, floors)
	}
	return s, err
}

// add takes a partition's progress in.
func (s *ChannelStatus) add(p *channels.Progress) {
	if p.Worker != "" && !slices.Contains(s.Workers, p.Worker) {
		s.Workers = append(s.Workers, p.Worker)
	}
	if at := time.Unix(p.Restored, 0).UTC(); p.Restored != 0 && (s.Restored.IsZero() || at.Before(s.Restored)) {
		s.Restored = at
	}
	order := []string{"", "closed", "open", "blocked"}
	if slices.Index(order, p.Circuit) > slices.Index(order, s.Circuit) {
		s.Circuit, s.Reason = p.Circuit, p.Reason
	}
}

// oldest returns when the first update behind the floors was published. It is one
// small question for each of the 64 slots, however much waits.
func (l looker) oldest(ctx context.Context, channel string, floors []uint64) (time.Time, error) {
	var oldest time.Time
	for slot := range events.Slots {
		msg, err := events.ReadFromLeader(ctx, l.c.JS, l.c.Names.UpdateStream(channel), events.MessageQuery{
			NextOn: l.c.Names.SlotUpdates(channel, slot, "*"), Sequence: floors[slot%len(floors)] + 1,
		})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return time.Time{}, err
		}
		if oldest.IsZero() || msg.Time.Before(oldest) {
			oldest = msg.Time
		}
	}
	return oldest, nil
}

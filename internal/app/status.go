package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/workers"
)

// A ChannelStatus is how a channel stands.
type ChannelStatus struct {
	Channel string        `json:"channel"`
	Mode    channels.Mode `json:"mode"`
	// State is active, blocked, stalled, paused, changing, deleted or "no stream".
	State string `json:"state"`
	// Undelivered updates; with AtMost a few too many may be counted.
	Undelivered uint64 `json:"undelivered"`
	AtMost      bool   `json:"undelivered_at_most"`
	// Oldest is when the oldest of them was published; zero if there is none.
	Oldest time.Time `json:"oldest,omitzero"`
	// Keys that the ledger knows, and those of them that the target holds as an older
	// configuration of the channel has made them; nil until they are counted.
	Keys     *int64 `json:"keys,omitempty"`
	Outdated *int64 `json:"outdated,omitempty"`
	// LedgerBytes are what the channel takes of LedgerQuota, its part of the ledger; nil until
	// they are counted.
	LedgerBytes *int64 `json:"ledger_bytes,omitempty"`
	LedgerQuota int64  `json:"ledger_quota"`
	// Dead letters, resolved ones too.
	Dead uint64 `json:"dead_letters"`
	// Circuit is the worst of the partitions: closed, open or blocked; "" if no live
	// worker has said.
	Circuit string `json:"circuit,omitempty"`
	// NextProbe is when the target is tried again, by whichever worker is the first;
	// zero if calls flow, and while a probe is on its way.
	NextProbe time.Time `json:"next_probe,omitzero"`
	// Restored is when a worker found that the broker holds older files than before,
	// without a new incarnation; zero if none has.
	Restored time.Time `json:"restored,omitzero"`
	// Reasons for which partitions do not move, the most urgent first.
	Reasons []standing.Finding `json:"reasons"`
	// Alarm: one of the reasons is.
	Alarm bool `json:"alarm"`
	// Workers that are alive and have partitions of it.
	Workers []string `json:"workers"`
	// Bytes that the channel's stream holds, of MaxBytes.
	Bytes    uint64 `json:"bytes"`
	MaxBytes int64  `json:"max_bytes"`

	// Published counts all updates ever stored: two looks give a rate.
	Published uint64 `json:"published"`
}

// statusAtOnce bounds how many channels are looked at side by side.
const statusAtOnce = 8

// Status tells how every channel stands, or one if it is named. It asks for a few
// numbers of each partition, and reads a message of each that has something.
func (c *Client) Status(ctx context.Context, channel string) ([]ChannelStatus, error) {
	entries, err := c.channels(ctx, channel)
	if err != nil {
		return nil, err
	}
	registry, err := c.Registry(ctx)
	if err != nil {
		return nil, err
	}
	crew, err := workers.Read(ctx, c.JS, c.Names)
	if err != nil {
		return nil, err
	}
	dead, err := c.JS.Stream(ctx, c.Names.DeadStream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("%w: stream %s is missing", events.ErrNotProvisioned, c.Names.DeadStream())
	}
	if err != nil {
		return nil, fmt.Errorf("read the dead letters: %w", err)
	}
	look := looker{c, standing.Looker{JS: c.JS, Names: c.Names, Registry: registry}, crew, dead}
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
	standing standing.Looker
	crew     workers.Crew
	dead     jetstream.Stream
}

func (l looker) channel(ctx context.Context, e channels.Entry) (ChannelStatus, error) {
	name := e.Config.Name
	s := ChannelStatus{
		Channel: name, Mode: e.Config.Mode, Workers: []string{}, Reasons: []standing.Finding{},
		MaxBytes: int64(e.Config.MaxBytes), LedgerQuota: int64(e.Config.Share(e.Config.Quota.Ledger)) * int64(e.Config.Partitions),
	}
	c, err := l.standing.Channel(ctx, e, l.crew)
	s.State = c.State
	if err != nil {
		return s, err
	}
	s.Published, s.Bytes = c.Published, c.Bytes
	s.Undelivered, s.AtMost, s.Oldest = c.Undelivered, c.AtMost, c.Oldest
	s.Circuit, s.Alarm, s.NextProbe, s.Restored = c.Circuit(), c.Alarm(), c.NextProbe(), c.Restored()
	s.Reasons = append(s.Reasons, c.Findings...)
	if c.Stock != nil {
		s.Keys, s.Outdated, s.LedgerBytes = &c.Stock.Keys, &c.Stock.Outdated, &c.Stock.LedgerBytes
	}
	info, err := l.dead.Info(ctx, jetstream.WithSubjectFilter(l.c.Names.DeadFilter(name)))
	if err != nil {
		return s, err
	}
	for _, n := range info.State.Subjects {
		s.Dead += n
	}
	for _, p := range c.Partitions {
		if p.Worker != "" && !slices.Contains(s.Workers, p.Worker) {
			s.Workers = append(s.Workers, p.Worker)
		}
	}
	slices.Sort(s.Workers)
	return s, nil
}

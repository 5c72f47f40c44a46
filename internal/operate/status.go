package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

// A Status is how channels stand, in the order of their names.
type Status struct {
	Channels []ChannelStatus `json:"channels"`
}

// A ChannelStatus is how a channel stands.
type ChannelStatus struct {
	Channel string        `json:"channel"`
	Mode    channels.Mode `json:"mode"`
	State   string        `json:"state" enum:"active,blocked,stalled,paused,changing,deleted,no stream" doc:"blocked: nothing gets through in part of it until somebody acts; stalled: an alarm for another reason"`
	// Health is the worst of the channel and of its keys, without those that were given up. Sync counts the keys by what the target
	// holds of them, and Standings by health and reason besides; nil until they are counted. They
	// never have too many keys in sync, see standing.Channel.
	Health    why.Health         `json:"health" enum:"ok,retrying,parked,dead,down,paused,blocked" doc:"The worst of the channel and of its keys; with keys that were given up it is ok while the others are delivered, and standings tell their number"`
	Sync      map[why.Sync]int64 `json:"sync,omitempty" doc:"Keys by what the target holds of them; none: not counted yet. Never too many are in_sync: an update that nobody has looked at takes one off"`
	Standings why.Counts         `json:"standings,omitempty" doc:"The same keys by health and reason besides, the most urgent first"`
	// Undelivered updates; with AtMost a few too many may be counted.
	Undelivered uint64 `json:"undelivered" doc:"Updates without an outcome, parked ones included"`
	AtMost      bool   `json:"undelivered_at_most" doc:"A few too many may be counted in undelivered"`
	// Oldest is when the oldest of them was published, OldestSeconds its age; zero if there
	// is none.
	Oldest        time.Time `json:"oldest,omitzero" doc:"When the oldest of them was published; about a second old"`
	OldestSeconds float64   `json:"oldest_seconds"`
	// Keys that the ledger knows, and those of them that the target holds as an older
	// configuration of the channel has made them; nil until they are counted.
	Keys     *int64 `json:"keys,omitempty" doc:"Keys that the ledger knows; none: not counted yet"`
	Outdated *int64 `json:"outdated,omitempty" doc:"Those of them that the target holds as an older configuration of the channel has made them"`
	// LedgerBytes are what the channel takes of LedgerQuota, its part of the ledger; nil until
	// they are counted.
	LedgerBytes *int64 `json:"ledger_bytes,omitempty" doc:"What the channel takes of ledger_quota; none: not counted yet"`
	LedgerQuota int64  `json:"ledger_quota" doc:"The channel's part of the ledger, in bytes"`
	Dead        uint64 `json:"dead_letters" doc:"Resolved ones too"`
	// Circuit is the worst of the partitions; "" if no live worker has said.
	Circuit string `json:"circuit,omitempty" enum:"closed,open,blocked" doc:"The worst of the partitions; none: no live worker has said"`
	// NextProbe is when the target is tried again; zero if calls flow, and while a probe is
	// on its way.
	NextProbe time.Time `json:"next_probe,omitzero" doc:"When the target is tried again, by whichever worker is the first"`
	// Restored is zero if no worker has found it.
	Restored time.Time          `json:"restored,omitzero" doc:"When a worker found that the broker holds older files than before, without a new incarnation"`
	Reasons  []standing.Finding `json:"reasons" doc:"Why partitions do not move, the most urgent first"`
	Alarm    bool               `json:"alarm" doc:"One of the reasons is an alarm: updates wait, and not because somebody wants them to"`
	Workers  []string           `json:"workers" doc:"Those that are alive and have partitions of it"`
	// Bytes that the channel's stream holds, of MaxBytes.
	Bytes      uint64            `json:"bytes" doc:"What the channel's stream holds"`
	MaxBytes   int64             `json:"max_bytes"`
	Published  uint64            `json:"published" doc:"All updates ever stored: two looks give a rate"`
	Partitions []PartitionStatus `json:"partitions"`
}

// A PartitionStatus is how one partition of a channel stands.
type PartitionStatus struct {
	Partition   int         `json:"partition"`
	Worker      string      `json:"worker,omitempty" doc:"Who is alive and has it; none: nobody"`
	LastWorker  string      `json:"last_worker,omitempty" doc:"Who has worked on it last"`
	HandedOver  bool        `json:"handed_over" doc:"That worker has ended, and no other has begun"`
	Circuit     string      `json:"circuit,omitempty" enum:"closed,open,blocked" doc:"None: no live worker has said"`
	Undelivered uint64      `json:"undelivered"`
	Why         *why.Reason `json:"why,omitempty" doc:"Why it does not move; none: it moves, or has nothing to do"`
}

// lookAtOnce bounds how many channels are looked at side by side.
const lookAtOnce = 8

// Status tells how every channel stands, or one if it is named. It asks for a few
// numbers of each partition, and reads a message of each that has something.
func (c *Client) Status(ctx context.Context, channel string) (Status, error) {
	entries, err := c.channels(ctx, channel)
	if err != nil {
		return Status{Channels: []ChannelStatus{}}, err
	}
	return c.status(ctx, entries)
}

// StatusOf is Status for the channels that allows lets through.
func (c *Client) StatusOf(ctx context.Context, allows func(channel string) bool) (Status, error) {
	entries, err := c.channels(ctx, "")
	if err != nil {
		return Status{Channels: []ChannelStatus{}}, err
	}
	return c.status(ctx, slices.DeleteFunc(entries, func(e channels.Entry) bool { return !allows(e.Config.Name) }))
}

func (c *Client) status(ctx context.Context, entries []channels.Entry) (Status, error) {
	out := Status{Channels: make([]ChannelStatus, len(entries))}
	registry, err := c.Registry(ctx)
	if err != nil {
		return out, err
	}
	crew, err := workers.Read(ctx, c.JS, c.Names)
	if err != nil {
		return out, err
	}
	_, err = c.JS.Stream(ctx, wire.DeadStream(c.Names))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return out, fmt.Errorf("%w: stream %s is missing", events.ErrNotProvisioned, wire.DeadStream(c.Names))
	}
	if err != nil {
		return out, fmt.Errorf("read the dead letters: %w", err)
	}
	look := looker{c, standing.Looker{JS: c.JS, Names: c.Names, Registry: registry}, crew}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lookAtOnce)
	for i, e := range entries {
		group.Go(func() error {
			var err error
			if out.Channels[i], err = look.channel(ctx, e); err != nil {
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
}

func (l looker) channel(ctx context.Context, e channels.Entry) (ChannelStatus, error) {
	name := e.Config.Name
	s := ChannelStatus{
		Channel: name, Mode: e.Config.Mode, Workers: []string{}, Reasons: []standing.Finding{}, Partitions: []PartitionStatus{},
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
	if !s.Oldest.IsZero() {
		s.OldestSeconds = max(time.Since(s.Oldest).Seconds(), 0)
	}
	s.Reasons = append(s.Reasons, c.Findings...)
	if s.Health = c.Health; c.Standings != nil {
		s.Standings, s.Sync = c.Standings, c.Standings.BySync()
	}
	if c.Stock != nil {
		s.Keys, s.Outdated, s.LedgerBytes = &c.Stock.Keys, &c.Stock.Outdated, &c.Stock.LedgerBytes
	}
	letters, err := wire.CountFrom(ctx, l.c.JS, wire.DeadStream(l.c.Names), wire.DeadFilter(l.c.Names, name), 1)
	if err != nil {
		return s, err
	}
	s.Dead = letters.Messages
	for i := range c.Partitions {
		p := &c.Partitions[i]
		s.Partitions = append(s.Partitions, PartitionStatus{
			Partition: p.Partition, Worker: p.Worker, LastWorker: p.Progress.Worker, HandedOver: p.Progress.Clean,
			Circuit: p.Circuit(), Undelivered: p.Undelivered, Why: p.Why,
		})
		if p.Worker != "" && !slices.Contains(s.Workers, p.Worker) {
			s.Workers = append(s.Workers, p.Worker)
		}
	}
	slices.Sort(s.Workers)
	return s, nil
}

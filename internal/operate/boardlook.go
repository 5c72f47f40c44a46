package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/words"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

func (b *Board) look(ctx context.Context, s *Snapshot) error {
	registry, err := b.client.Registry(ctx)
	if err != nil {
		return err
	}
	if b.survey == nil || !b.survey.Of(registry) {
		b.survey = registry.Survey()
	}
	if err := b.survey.Refresh(ctx); err != nil {
		return err
	}
	// One that cannot be read hides no other; doctor says so.
	entries, _ := b.survey.Channels()
	topics, _ := b.survey.Topics()
	entries = slices.DeleteFunc(slices.Clone(entries), func(e channels.Entry) bool { return !e.Deleted.IsZero() })
	if err := b.lookAt(ctx, s, entries, topics); err != nil {
		return err
	}
	s.Cost = time.Since(s.At)
	b.lookBesides(ctx, s)
	return nil
}

// lookAt looks at each channel and topic. One that cannot be seen hides no other.
func (b *Board) lookAt(ctx context.Context, s *Snapshot, entries []channels.Entry, topics []channels.TopicEntry) error {
	c := b.client
	crew, err := workers.Read(ctx, c.JS, c.Names)
	if err != nil {
		return err
	}
	s.spots, s.topics = make([]spot, len(entries)), make([]TopicRow, len(topics))
	stands, errs := make([]standing.Channel, len(entries)), make([]error, len(entries))
	looker := standing.Looker{JS: c.JS, Names: c.Names, Backlogs: b.survey}
	var p forbearance
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(boardAtOnce)
	for i, e := range entries {
		group.Go(func() error {
			errs[i] = p.with(gctx, func(ctx context.Context) (err error) {
				stands[i], err = looker.Channel(ctx, e, crew)
				return err
			})
			return gctx.Err()
		})
	}
	for i, e := range topics {
		group.Go(func() error {
			_ = p.with(gctx, func(ctx context.Context) (err error) { // its name is there, and doctor says the rest
				s.topics[i], err = c.topicRow(ctx, e)
				return err
			})
			return gctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if n := len(entries); n > 0 && !slices.ContainsFunc(errs, func(err error) bool { return !wire.IsUnavailable(err) }) {
		return fmt.Errorf("channel %s, as all others: %w", entries[n-1].Config.Name, errs[n-1])
	}
	urgency := urgencies()
	for i, e := range entries {
		if errs[i] != nil {
			s.spots[i] = b.unseen(s.At, e, errs[i], urgency)
			continue
		}
		s.spots[i] = spotOf(e, &stands[i], urgency)
	}
	b.rates.add(s, entries, stands, errs)
	return nil
}

// lookBesides adds what is beside the point: where it cannot be read, there is what was read
// before.
func (b *Board) lookBesides(ctx context.Context, s *Snapshot) {
	c := b.client
	s.acts, s.jobs = b.tail.acts, b.jobs
	if !b.NoActs {
		ctx, cancel := context.WithTimeout(ctx, besidesTime)
		defer cancel()
		var err error
		if s.acts, err = b.tail.read(ctx, auditlog.Open(c.JS, c.Names)); err != nil {
			c.log.Warn().Err(err).Msg("read the audit log")
		}
	}
	if b.Jobs == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, besidesTime)
	defer cancel()
	if jobs, err := b.Jobs(ctx); err == nil {
		s.jobs, b.jobs = jobs, jobs
	} else {
		c.log.Warn().Err(err).Msg("list jobs")
	}
}

// A forbearance bounds how long those who do not answer keep a look: the more there are, the less
// each gets.
type forbearance struct{ silent atomic.Int32 }

func (p *forbearance) with(ctx context.Context, ask func(context.Context) error) error {
	const halves, most = 8, 3 // after so many silent ones, and how often
	ctx, cancel := context.WithTimeout(ctx, channelTime>>min(p.silent.Load()/halves, most))
	defer cancel()
	err := ask(ctx)
	if err != nil && ctx.Err() != nil {
		p.silent.Add(1)
	}
	return err
}

// unseen is a channel that could not be looked at: as it was seen last, if that was a moment
// ago and the broker is expected to answer again, as while it elects a leader.
func (b *Board) unseen(now time.Time, e channels.Entry, err error, urgency map[why.Code]int) spot {
	since := now
	if b.last != nil {
		if i := slices.IndexFunc(b.last.spots, func(s spot) bool { return s.row.Channel == e.Config.Name }); i >= 0 {
			was := b.last.spots[i]
			if !was.unseen.IsZero() {
				since = was.unseen
			}
			if wire.IsUnavailable(err) && now.Sub(since) < staleFor {
				was.unseen = since
				return was
			}
		}
	}
	c := standsUnseen(err)
	out := spotOf(e, &c, urgency)
	out.unseen = since
	return out
}

func spotOf(e channels.Entry, c *standing.Channel, urgency map[why.Code]int) spot {
	return spot{row: rowOf(e, c), attention: attentionOf(e.Config.Name, c, urgency), route: e.Config.Route().ID(), restored: c.Restored()}
}

// standsUnseen is how a channel stands that cannot be looked at.
func standsUnseen(err error) standing.Channel {
	f := standing.Finding{
		Reason: why.Reason{Code: why.BrokerRefuses, Message: "how the channel stands cannot be read: " + words.Of(err)}, Advice: why.BrokerRefuses.Advice(), Alarm: true,
	}
	return standing.Channel{State: standing.Blocked, Health: why.HealthBlocked, Findings: []standing.Finding{f}}
}

func (c *Client) topicRow(ctx context.Context, e channels.TopicEntry) (TopicRow, error) {
	out := TopicRow{Topic: e.Topic.Name, Description: e.Topic.Description}
	stream, err := c.JS.Stream(ctx, wire.UpdateStream(c.Names, events.ToTopic(e.Topic.Name)))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return out, nil // doctor says so
	}
	if err != nil {
		return out, fmt.Errorf("topic %s: %w", e.Topic.Name, err)
	}
	out.Keys = stream.CachedInfo().State.Msgs
	return out, nil
}

package operate

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/words"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

const (
	// freshFor is for how long a snapshot is good, and freshCosts for how many times what it
	// has cost: looking takes a quarter of the time at most.
	freshFor   = time.Second
	freshCosts = 4
	// staleFor is how old a snapshot may be that is returned while a newer one is not taken
	// within staleAfter.
	staleFor   = 15 * time.Second
	staleAfter = 300 * time.Millisecond
	// boardTime bounds a look at all channels.
	boardTime = 20 * time.Second
	// boardAtOnce bounds how many channels and topics are looked at side by side.
	boardAtOnce = 32
)

// A Board has the newest snapshot of all channels, for all who ask in one process: however many
// they are, the broker is asked once. It is safe for concurrent use.
type Board struct {
	client *Client
	flight singleflight.Group

	mu   sync.Mutex
	last *Snapshot
	// The rest belongs to whoever takes a snapshot; one does at a time.
	survey *channels.Survey
	rates  rates
	tail   tail
	jobs   []LiveJob

	// Jobs, if it is not nil, returns jobs that run or have ended lately, for LiveJobs. It is set
	// before the board is used.
	Jobs func(ctx context.Context) ([]LiveJob, error)
	// NoActs leaves out what people have done, for a process that may not read the audit log.
	// It is set before the board is used.
	NoActs bool
}

// Board returns a board of an installation.
func (c *Client) Board() *Board { return &Board{client: c, rates: rates{known: map[string]*counted{}}} }

// fresh returns the newest snapshot if it is good still, else nil.
func (b *Board) fresh() *Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last != nil && time.Since(b.last.At) < b.last.goodFor() {
		return b.last
	}
	return nil
}

// goodFor is for how long after it was taken a snapshot is good.
func (s *Snapshot) goodFor() time.Duration { return max(freshFor, freshCosts*s.Cost) }

// Look returns a snapshot that is good still, and takes one if there is none. Where that takes
// long, it returns the one before, and the next to ask gets the new one.
func (b *Board) Look(ctx context.Context) (*Snapshot, error) {
	if s := b.fresh(); s != nil {
		return s, nil
	}
	// Whoever asked first may go before it is there, and others wait for it, too.
	taken := b.flight.DoChan("", func() (any, error) {
		if s := b.fresh(); s != nil {
			return s, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), boardTime)
		defer cancel()
		return b.take(ctx)
	})
	var late <-chan time.Time
	b.mu.Lock()
	last := b.last
	b.mu.Unlock()
	if last != nil && time.Since(last.At) < staleFor {
		late = time.After(staleAfter)
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-late:
		return last, nil
	case r := <-taken:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*Snapshot), nil //nolint:forcetypeassert // it is what was taken
	}
}

// take looks at all channels and topics.
func (b *Board) take(ctx context.Context) (*Snapshot, error) {
	begun := time.Now()
	s := &Snapshot{At: begun.UTC()}
	if err := b.look(ctx, s); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old := map[string]*spot{}
	if b.last != nil {
		for i := range b.last.spots {
			old[b.last.spots[i].row.Channel] = &b.last.spots[i]
		}
	}
	for i := range s.spots {
		spot := &s.spots[i]
		spot.changed = s.At
		if was := old[spot.row.Channel]; was != nil && reflect.DeepEqual(was.row, spot.row) {
			spot.changed = was.changed
		}
	}
	b.last, s.Cost = s, time.Since(begun)
	return s, nil
}

func (b *Board) look(ctx context.Context, s *Snapshot) error {
	c := b.client
	registry, err := c.Registry(ctx)
	if err != nil {
		return err
	}
	if b.survey == nil || !b.survey.Of(registry) {
		b.survey = registry.Survey()
	}
	if err := b.survey.Refresh(ctx); err != nil {
		return err
	}
	entries, err := b.survey.Channels()
	if err != nil && len(entries) == 0 {
		return err // one that cannot be read hides no other; doctor says so
	}
	topics, err := b.survey.Topics()
	if err != nil && len(topics) == 0 {
		return err
	}
	crew, err := workers.Read(ctx, c.JS, c.Names)
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(slices.Clone(entries), func(e channels.Entry) bool { return !e.Deleted.IsZero() })
	s.spots, s.topics = make([]spot, len(entries)), make([]TopicRow, len(topics))
	stands := make([]standing.Channel, len(entries))
	look := standing.Looker{JS: c.JS, Names: c.Names, Registry: registry, Backlogs: b.survey}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(boardAtOnce)
	for i, e := range entries {
		group.Go(func() (err error) {
			if stands[i], err = look.Channel(gctx, e, crew); wire.IsUnavailable(err) || gctx.Err() != nil {
				return fmt.Errorf("channel %s: %w", e.Config.Name, err)
			}
			if err != nil { // it hides no other
				stands[i] = unseen(err)
			}
			return nil
		})
	}
	for i, e := range topics {
		group.Go(func() (err error) {
			if s.topics[i], err = c.topicRow(gctx, e); wire.IsUnavailable(err) || gctx.Err() != nil {
				return err
			}
			return nil // its name is there, and doctor says the rest
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	urgency := urgencies()
	for i, e := range entries {
		s.spots[i] = spot{row: rowOf(e, &stands[i]), attention: attentionOf(e.Config.Name, &stands[i], urgency), route: e.Config.Route().ID()}
	}
	b.rates.add(s, entries, stands)
	// What people do is beside the point: where it cannot be read, there is what was read before.
	if !b.NoActs {
		if s.acts, err = b.tail.read(ctx, auditlog.Open(c.JS, c.Names)); err != nil {
			c.log.Warn().Err(err).Msg("read the audit log")
		}
	}
	if b.Jobs == nil {
		return nil
	}
	if jobs, err := b.Jobs(ctx); err == nil {
		b.jobs = jobs
	} else {
		c.log.Warn().Err(err).Msg("list jobs")
	}
	s.jobs = b.jobs
	return nil
}

// unseen is how a channel stands that cannot be looked at.
func unseen(err error) standing.Channel {
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

// rowOf returns a channel's row, without its rates.
func rowOf(e channels.Entry, c *standing.Channel) Row {
	row := Row{
		Channel: e.Config.Name, Description: e.Config.Description, Kind: e.Config.Connector.Kind, Target: TargetText(e.Config.Connector), Mode: e.Config.Mode,
		State: c.State, Health: c.Health, Sync: c.Standings.BySync(), Undelivered: c.Undelivered, Oldest: c.Oldest, Circuit: c.Circuit(),
		NextProbe: c.NextProbe(), Workers: []string{}, Partitions: e.Config.Partitions, Dead: c.Standings.Dead(), Alarm: c.Alarm(), Revision: e.Revision,
	}
	if e.Config.From != nil {
		row.Topic = e.Config.From.Topic
	}
	row.NotNewest = int64(c.Undelivered) //nolint:gosec // no number of updates
	if c.Stock != nil {
		row.Keys = &c.Stock.Keys
		row.NotNewest = row.Sync[why.Waiting] + row.Sync[why.Behind] + row.Sync[why.Unknown]
	}
	for i := range c.Partitions {
		if w := c.Partitions[i].Worker; w != "" && len(row.Workers) < workersNamed && !slices.Contains(row.Workers, w) {
			row.Workers = append(row.Workers, w)
		}
	}
	slices.Sort(row.Workers)
	if len(c.Findings) > 0 {
		f := &c.Findings[0]
		row.Why = &RowWhy{Code: f.Code, Text: f.Message, Advice: f.Advice, Since: f.Since}
	}
	return row
}

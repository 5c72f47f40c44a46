package operate

import (
	"context"
	"reflect"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/why"
)

const (
	// freshFor is for how long a snapshot is good, and freshCosts for how many times what it
	// has cost: looking takes a quarter of the time at most. None is good for longer than
	// freshMost.
	freshFor   = time.Second
	freshCosts = 4
	freshMost  = 10 * time.Second
	// staleFor is how old a snapshot may be that is returned while a newer one is not taken
	// within staleAfter.
	staleFor   = 15 * time.Second
	staleAfter = 100 * time.Millisecond
	// boardTime bounds a look at all channels.
	boardTime = 20 * time.Second
	// channelTime bounds a look at one channel or topic, and besidesTime one at what is told
	// beside them: the broker says nothing to who may not ask.
	channelTime = 2 * time.Second
	besidesTime = time.Second
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
func (s *Snapshot) goodFor() time.Duration { return min(max(freshFor, freshCosts*s.Cost), freshMost) }

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
	b.last = s
	return s, nil
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
	row.Copies = row.NotNewest
	if row.Keys != nil {
		row.Copies = max(row.Copies, *row.Keys)
	}
	var counted int64
	for _, n := range row.Sync {
		counted += n
	}
	row.Copies = max(row.Copies, counted)
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

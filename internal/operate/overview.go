package operate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/why"
)

// MaxRows bounds the channels of a page of an overview, and maxAttention what it says of what
// needs attention.
const (
	MaxRows      = 200
	maxAttention = 50
	// workersNamed bounds the workers that a row names.
	workersNamed = 3
)

// An Overview is a page of how the channels stand, in the order of their names. What is said of
// all of them, and Topics and Attention, are there on the first page only.
type Overview struct {
	At            time.Time   `json:"at" doc:"When it was looked at: about a second ago, and at most 15 s where a look takes long"`
	Totals        *Totals     `json:"totals,omitempty" doc:"Over all channels; on the first page"`
	Topics        []TopicRow  `json:"topics,omitempty" doc:"On the first page, at most 200"`
	Channels      []Row       `json:"channels"`
	Next          string      `json:"next" doc:"The cursor of the next page; empty: this was the last"`
	Restored      time.Time   `json:"restored,omitzero" doc:"When a worker found that the broker holds older files than before, without a new incarnation: run 'extsync recover'. On the first page"`
	Attention     []Attention `json:"attention,omitempty" doc:"On the first page, at most 50: first what needs a person, then what mends itself"`
	AttentionMore int         `json:"attention_more,omitempty" doc:"How many there are besides"`
}

// Totals are sums over channels. Keys are counted once for each channel that has them.
type Totals struct {
	Channels    int                `json:"channels"`
	OK          int                `json:"ok" doc:"Channels of the health ok"`
	NeedsPerson int                `json:"needs_person" doc:"What needs a person, and does not mend itself"`
	Keys        int64              `json:"keys" doc:"In the ledger"`
	Copies      int64              `json:"copies"`
	InSync      int64              `json:"in_sync"`
	NotNewest   int64              `json:"not_newest"`
	Undelivered uint64             `json:"undelivered"`
	Dead        int64              `json:"dead"`
	Published   *float64           `json:"published_rate" doc:"Updates a second, those of a topic once; null: not known before the second look"`
	Settled     *float64           `json:"settled_rate" doc:"Outcomes a second; null: not known before the second look"`
	ByHealth    map[why.Health]int `json:"by_health" doc:"Channels by their health"`
	BySync      map[why.Sync]int64 `json:"by_sync" doc:"Keys by what the targets hold of them"`
}

// A TopicRow is a topic in an overview.
type TopicRow struct {
	Topic       string `json:"topic"`
	Keys        uint64 `json:"keys"`
	Description string `json:"description"`
}

// A Row is how a channel stands, in short; ChannelStatus says more.
type Row struct {
	Channel     string             `json:"channel"`
	Description string             `json:"description"`
	Topic       string             `json:"topic" doc:"That it reads; empty: none"`
	Kind        string             `json:"kind" doc:"Of its connector"`
	Target      string             `json:"target" doc:"Where it writes to, without user, password and query"`
	Mode        channels.Mode      `json:"mode"`
	State       string             `json:"state"`
	Health      why.Health         `json:"health" enum:"ok,retrying,parked,dead,down,paused,blocked"`
	Sync        map[why.Sync]int64 `json:"sync" doc:"Keys by what the target holds of them; empty: not counted yet"`
	Keys        *int64             `json:"keys" doc:"In the ledger; null: not counted yet"`
	Copies      int64              `json:"copies" doc:"Keys that the target is to hold: those in the ledger, and those that were published and are not there yet"`
	NotNewest   int64              `json:"not_newest" doc:"Keys that wait or are behind, or of which nothing is known"`
	Undelivered uint64             `json:"undelivered"`
	Oldest      time.Time          `json:"oldest,omitzero" doc:"When the oldest undelivered update was published"`
	Dead        int64              `json:"dead" doc:"Keys whose newest version was given up"`
	Published   *float64           `json:"published_rate" doc:"Updates a second of the channel, or of the topic that it reads; null: not known yet"`
	Settled     *float64           `json:"settled_rate" doc:"Outcomes a second; null: not known yet"`
	Circuit     string             `json:"circuit"`
	NextProbe   time.Time          `json:"next_probe,omitzero"`
	Workers     []string           `json:"workers" doc:"At most three"`
	Partitions  int                `json:"partitions"`
	Why         *RowWhy            `json:"why" doc:"The most urgent reason for which something does not move; null: there is none"`
	Alarm       bool               `json:"alarm"`
	Revision    uint64             `json:"revision" doc:"Of its configuration"`
}

// A RowWhy is the most urgent reason of a channel.
type RowWhy struct {
	_ struct{} `nullable:"true"`

	Code   why.Code  `json:"code"`
	Text   string    `json:"text"`
	Advice string    `json:"advice"`
	Since  time.Time `json:"since,omitzero"`
}

// A Snapshot is how all channels stood at one moment. It is immutable.
type Snapshot struct {
	At     time.Time
	Cost   time.Duration // that it took
	spots  []spot        // in the order of names
	topics []TopicRow
	acts   []act // the newest, the oldest first
	jobs   []LiveJob
}

// A spot is a channel in a snapshot.
type spot struct {
	row       Row
	attention []Attention
	route     string    // of whose stream row.Published is told
	changed   time.Time // when the first snapshot was taken in which the row is as it is
	unseen    time.Time // since when the channel could not be looked at; zero: it could
	restored  time.Time // as of Overview
}

// Overview returns a page: of the channels and topics that are let through, those behind the
// cursor, up to limit. It fails with ErrCursor.
func (s *Snapshot) Overview(allows, allowsTopic func(name string) bool, limit int, cursor string) (Overview, error) {
	out := Overview{At: s.At, Channels: []Row{}}
	after, ok := strings.CutPrefix(cursor, "c.")
	if !ok && cursor != "" {
		return out, fmt.Errorf("%w: %.40q", ErrCursor, cursor)
	}
	for i := range s.spots {
		spot := &s.spots[i]
		if !allows(spot.row.Channel) || spot.row.Channel <= after {
			continue
		}
		if len(out.Channels) == limit {
			out.Next = "c." + out.Channels[limit-1].Channel
			break
		}
		out.Channels = append(out.Channels, spot.row)
	}
	if cursor != "" {
		return out, nil
	}
	out.Totals, out.Restored = s.Totals(allows), s.restored()
	for _, t := range s.topics {
		if allowsTopic(t.Topic) && len(out.Topics) < MaxRows {
			out.Topics = append(out.Topics, t)
		}
	}
	for i := range s.spots {
		if allows(s.spots[i].row.Channel) {
			out.Attention = append(out.Attention, s.spots[i].attention...)
		}
	}
	slices.SortStableFunc(out.Attention, compareAttention)
	if n := len(out.Attention); n > maxAttention {
		out.Attention, out.AttentionMore = out.Attention[:maxAttention], n-maxAttention
	}
	return out, nil
}

// restored returns when somebody found the broker's files to be older; zero: nobody has.
func (s *Snapshot) restored() (first time.Time) {
	for i := range s.spots {
		if at := s.spots[i].restored; first.IsZero() || !at.IsZero() && at.Before(first) {
			first = at
		}
	}
	return first
}

// Totals adds up the channels that allows lets through.
func (s *Snapshot) Totals(allows func(channel string) bool) *Totals {
	t := &Totals{ByHealth: map[why.Health]int{}, BySync: map[why.Sync]int64{}}
	routes := map[string]bool{}
	for i := range s.spots {
		spot := &s.spots[i]
		row := &spot.row
		if !allows(row.Channel) {
			continue
		}
		t.Channels++
		t.ByHealth[row.Health]++
		for sync, n := range row.Sync {
			t.BySync[sync] += n
		}
		if row.Keys != nil {
			t.Keys += *row.Keys
		}
		t.Copies += row.Copies
		t.NotNewest += row.NotNewest
		t.Undelivered += row.Undelivered
		t.Dead += row.Dead
		if !routes[spot.route] {
			routes[spot.route] = true
			t.Published = plus(t.Published, row.Published)
		}
		t.Settled = plus(t.Settled, row.Settled)
		for j := range spot.attention {
			if spot.attention[j].Person {
				t.NeedsPerson++
			}
		}
	}
	t.OK, t.InSync = t.ByHealth[why.HealthOK], t.BySync[why.InSync]
	return t
}

// plus adds rates of which either may not be known.
func plus(a, b *float64) *float64 {
	if a == nil || b == nil {
		return firstRate(a, b)
	}
	return new(tenths(*a + *b))
}

func firstRate(a, b *float64) *float64 {
	if a != nil {
		return a
	}
	return b
}

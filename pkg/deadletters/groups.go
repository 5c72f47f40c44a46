package deadletters

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// MaxGroups bounds Groups.Groups, groupsHeld the groups that are told apart meanwhile.
	MaxGroups  = 200
	groupsHeld = 20_000
	// groupSamples and groupBars are how many letters and numbers a group shows.
	groupSamples = 3
	groupBars    = 12
)

// A Group is letters of one channel that fail for the same reason: outcome, class and code
// are the same, and the messages have the same Pattern.
type Group struct {
	ID      string         `json:"group" doc:"Its name, for the filter group: the same as long as the reason is"`
	Channel string         `json:"channel"`
	Outcome events.Outcome `json:"outcome,omitempty"`
	Class   string         `json:"class,omitempty"`
	Code    string         `json:"code,omitempty"`
	// Message is that of the first letter, with names and numbers as they were.
	Message   string         `json:"message,omitempty" doc:"Of the first letter; those of the others may have other names and numbers"`
	Count     int            `json:"count"`
	First     time.Time      `json:"first" doc:"When the first letter was stored"`
	Last      time.Time      `json:"last"`
	Histogram [groupBars]int `json:"histogram" doc:"Twelve equal parts of the time from first to now: how many letters were stored in each"`
	Samples   []Entry        `json:"samples" doc:"The first letter, the last, and one in the middle"`

	stored []time.Time // of each letter
}

// Groups are the letters that a filter selects, by their reasons.
type Groups struct {
	Groups []Group `json:"groups" doc:"The largest first, at most 200"`
	Looked int     `json:"looked" doc:"Dead letters that were looked at, oldest first"`
	Of     int     `json:"of" doc:"Dead letters that there are to look at, whatever the filter says"`
	More   bool    `json:"more" doc:"There are groups that are not shown, or letters that were not looked at"`
}

// Groups puts the letters that a filter selects together by why they failed. It stops looking
// after a time, and says so. The errors are those of List.
func (s *Store) Groups(ctx context.Context, f Filter, most time.Duration) (Groups, error) {
	out := Groups{Groups: []Group{}}
	subject, err := f.check(s.names)
	if err != nil {
		return out, err
	}
	count, err := wire.CountFrom(ctx, s.js, wire.DeadStream(s.names), subject, 1)
	if err != nil {
		return out, unavailable(err)
	}
	out.Of = int(count.Messages) //nolint:gosec // a stream has fewer
	began := time.Now()
	groups := map[string]*Group{}
	for p, err := range s.portions(ctx, f, 0) {
		if err != nil {
			return out, err
		}
		out.Looked += p.looked
		for i := range p.letters {
			if !collect(groups, &p.letters[i]) {
				out.More = true
			}
		}
		if time.Since(began) > most && out.Looked < out.Of {
			out.More = true
			break
		}
	}
	out.Of = max(out.Of, out.Looked)
	now := time.Now()
	for _, g := range groups {
		out.Groups = append(out.Groups, *g)
	}
	slices.SortFunc(out.Groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), b.Last.Compare(a.Last), cmp.Compare(a.ID, b.ID))
	})
	if len(out.Groups) > MaxGroups {
		out.Groups, out.More = out.Groups[:MaxGroups], true
	}
	for i := range out.Groups {
		out.Groups[i].draw(now)
	}
	return out, nil
}

// collect adds a letter to its group. It returns false if there are too many groups.
func collect(groups map[string]*Group, l *letter) bool {
	id := l.group()
	g := groups[id]
	if g == nil {
		if len(groups) >= groupsHeld {
			return false
		}
		g = &Group{ID: id, Channel: l.Channel, Outcome: l.Outcome, Class: l.Class, Code: l.Code, Message: l.Reason, First: l.Stored}
		groups[id] = g
	}
	g.Count++
	g.Last = l.Stored
	g.stored = append(g.stored, l.Stored)
	switch n := len(g.Samples); {
	case n < groupSamples:
		g.Samples = append(g.Samples, l.entry())
	default: // the last one, and about the one in the middle: the place doubles with the number
		if g.Count&(g.Count-1) == 0 {
			g.Samples[1] = g.Samples[n-1]
		}
		g.Samples[n-1] = l.entry()
	}
	return true
}

// draw makes the histogram.
func (g *Group) draw(now time.Time) {
	span := max(now.Sub(g.First), 1)
	for _, at := range g.stored {
		bar := int(int64(at.Sub(g.First)) / max(int64(span)/groupBars, 1))
		g.Histogram[min(max(bar, 0), groupBars-1)]++
	}
	g.stored = nil
}

package operate

import (
	"math"
	"time"

	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/pkg/channels"
)

const (
	// ratesOver is over how long rates are measured: workers say every 0.5 to 3 s what they
	// have done. Where nobody has looked for longer than rateGap, they are not known.
	ratesOver = 10 * time.Second
	rateGap   = 2 * time.Minute
)

// rates are how much was published to each channel and settled, by several looks.
type rates struct {
	known map[string]*counted
}

// counted is what was counted of one channel.
type counted struct {
	id        string // of the channel
	published uint64 // that the stream has ever stored
	settled   uint64 // since it is looked at
	consumers map[string]uint64
	marks     []mark // the oldest first
}

// A mark is how much there was at a time.
type mark struct {
	at                 time.Time
	published, settled uint64
}

// add adds what a snapshot has seen, and tells it the rates. unseen has an error for each
// channel that could not be looked at.
func (r *rates) add(s *Snapshot, entries []channels.Entry, stands []standing.Channel, unseen []error) {
	next := make(map[string]*counted, len(entries))
	for i, e := range entries {
		was := r.known[e.Config.Name]
		if unseen[i] != nil {
			if was != nil {
				next[e.Config.Name] = was
			}
			continue
		}
		if was == nil || was.id != e.ID || stands[i].Published < was.published {
			was = &counted{id: e.ID} // it is new, or its stream was made anew
		}
		was.count(&stands[i])
		s.spots[i].row.Published, s.spots[i].row.Settled = was.rates(s.At)
		next[e.Config.Name] = was
	}
	r.known = next
}

// count adds up what the partitions' owners have settled. What a consumer has sent before it is
// seen for the first time is not told.
func (c *counted) count(stands *standing.Channel) {
	c.published = stands.Published
	now := make(map[string]uint64, len(stands.Partitions))
	for i := range stands.Partitions {
		p := &stands.Partitions[i].Progress
		if p.Consumer == "" {
			continue
		}
		now[p.Consumer] = p.Done
		switch before, there := c.consumers[p.Consumer]; {
		case there:
			c.settled += p.Done - min(before, p.Done)
		case c.consumers != nil: // it was made since
			c.settled += p.Done
		}
	}
	c.consumers = now
}

// rates returns the rates up to now, and remembers how much there is; nil: not known.
func (c *counted) rates(now time.Time) (published, settled *float64) {
	for len(c.marks) > 1 && now.Sub(c.marks[1].at) >= ratesOver || len(c.marks) > 0 && now.Sub(c.marks[0].at) > rateGap {
		c.marks = c.marks[1:]
	}
	if len(c.marks) > 0 {
		m := c.marks[0]
		if apart := now.Sub(m.at).Seconds(); apart > 0 {
			published = new(tenths(float64(c.published-m.published) / apart))
			settled = new(tenths(float64(c.settled-m.settled) / apart))
		}
	}
	c.marks = append(c.marks, mark{now, c.published, c.settled})
	return published, settled
}

// tenths rounds a rate, up if it would be 0 and is not.
func tenths(rate float64) float64 {
	if out := math.Round(rate*10) / 10; out > 0 || rate <= 0 {
		return out
	}
	return 0.1
}

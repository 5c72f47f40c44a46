package standing

import (
	"fmt"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/why"
)

// stockOf adds up what the partitions have in the shared streams; nil if one has not counted
// it yet for the configuration of now.
func stockOf(e channels.Entry, partitions []Partition) *channels.Census {
	sum := channels.Census{Content: e.Content}
	for i := range partitions {
		p := &partitions[i].Progress
		if p.Census.Content != e.Content {
			return nil
		}
		sum.Keys += p.Census.Keys
		sum.Outdated += p.Census.Outdated
		sum.Standings.AddAll(p.Census.Standings)
		sum.LedgerBytes += p.Census.LedgerBytes
		sum.Estimated = sum.Estimated || p.Census.Estimated
	}
	return &sum
}

// remade says that the target does not hold what the channel's configuration makes of its
// updates now; nil if it does, as far as the configuration goes.
func remade(e channels.Entry, stock *channels.Census) *why.Reason {
	r := &why.Reason{Code: why.MappingChanged, Since: e.Remade}
	switch {
	case e.Remade.IsZero():
		return nil
	case stock == nil:
		r.Message = "the channel's configuration makes something else of its updates now; the keys that the target holds as it was before are counted when a worker is at work on the channel"
	case stock.Outdated > 0:
		r.Message = fmt.Sprintf("the target holds %d of %d keys as an older configuration of the channel has made them", stock.Outdated, stock.Keys)
	default:
		return nil
	}
	return r
}

// full says that publishers refuse new keys of a latest channel, see events.ErrFull; nil if
// they do not.
func full(e channels.Entry, b *channels.Backlog) *why.Reason {
	const percent = 80
	if e.Config.Mode == channels.Every || b.MaxBytes == 0 || b.Bytes < b.MaxBytes/100*percent {
		return nil
	}
	whose := "the channel's stream"
	if e.Config.From != nil {
		whose = "the stream of topic " + e.Config.From.Topic
	}
	return &why.Reason{Code: why.ChannelFull, Message: fmt.Sprintf("%s holds %d of %d bytes; new keys are refused from %d %% on", whose, b.Bytes, b.MaxBytes, percent)}
}

// filling says that a channel gets what its topic had; nil if it does not.
func filling(b *channels.Backlog) *why.Reason {
	if b.Filling == 0 {
		return nil
	}
	return &why.Reason{Code: why.Filling, Message: fmt.Sprintf("%d of %d keys that its topic had are still to be looked at", b.Filling, b.FillTotal)}
}

// standings say how the channel's keys stand, by what the partitions' owners have counted and
// what is undelivered; nil while that is not known.
func (c *Channel) standings() why.Counts {
	if c.Stock == nil {
		return nil
	}
	out := why.Counts{}
	for i := range c.Partitions {
		out.AddAll(c.Partitions[i].standings())
	}
	return out.Sorted()
}

// standings say how the partition's keys stand: what has no outcome yet waits for whatever
// holds the partition back.
func (p *Partition) standings() why.Counts {
	var held why.Code
	if p.Why != nil {
		held = p.Why.Code
	}
	out := why.Counts{}
	tried := int64(0) // without an outcome yet
	for _, one := range p.Progress.Census.Standings {
		s := one.Standing()
		if s.Health == why.HealthRetrying || s.Health == why.HealthParked {
			tried += one.Keys
			s = s.Held(held)
		}
		out.Add(s, one.Keys)
	}
	out.Wait(max(0, int64(p.Undelivered)-tried), held) //nolint:gosec // no number of updates
	return out
}

// health returns the worst health of the channel and of its keys, of which those do not count that
// were given up: the others are delivered.
func (c *Channel) health() why.Health {
	worst := c.Standings.Health()
	for i := range c.Findings {
		worst = why.Worse(worst, c.Findings[i].Code.Health())
	}
	return worst
}

package delivery

import (
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/events"
)

// An Observer is told what a worker does, while it does it: for metrics. Its
// methods are called from many goroutines at once, in the way of deliveries:
// they return at once and call nothing of the worker.
type Observer interface {
	// Attempted follows each attempt that reached the connector and whose result
	// counts.
	Attempted(Attempted)
	// Settled follows each final outcome, once it is in the log and its ack is
	// sent. A resync has none.
	Settled(Settled)
}

// Attempted is one attempt, looked at from outside.
type Attempted struct {
	Channel string
	Kind    string
	Class   connectors.Class
	Took    time.Duration // of the call, which may have carried more updates
	// RuleErrors is that of the connector's result.
	RuleErrors int
}

// Settled is one final outcome, looked at from outside.
type Settled struct {
	Channel string
	Outcome events.Outcome
	// EndToEnd is the time since the broker stored the update, by the clocks of
	// both; negative if it is not known.
	EndToEnd time.Duration
}

// observeAttempt tells the observer of a result.
func (p *partition) observeAttempt(res connectors.Result, took time.Duration) {
	if p.r.stats.observer == nil {
		return
	}
	cfg := &p.r.entry.Config
	p.r.stats.observer.Attempted(Attempted{Channel: cfg.Name, Kind: cfg.Connector.Kind, Class: res.Class, Took: took, RuleErrors: res.RuleErrors})
}

// observeOutcomes tells observer and tracer of outcomes whose acks are out.
func (p *partition) observeOutcomes(commits []lanes.Commit) {
	st := p.r.stats
	if st.observer == nil && st.tracer == nil {
		return
	}
	for i := range commits {
		c := &commits[i]
		if c.Item == nil || c.Item.Resync != nil {
			continue
		}
		if st.observer != nil {
			st.observer.Settled(Settled{
				Channel: p.r.entry.Config.Name, Outcome: c.Entry.Outcome, EndToEnd: ageOf(c.Item),
			})
		}
		if st.tracer != nil {
			p.traceAck(c)
		}
	}
}

// countOutcomes counts outcomes whose acks are out.
func (p *partition) countOutcomes(commits []lanes.Commit) {
	p.r.stats.add(p.r.entry.Config.Name, func(s *ChannelStats) {
		for i := range commits {
			c := &commits[i]
			if c.Item == nil {
				continue
			}
			if c.Item.Resync != nil {
				s.Resynced++
				continue
			}
			s.Outcomes[c.Entry.Outcome]++
			if c.Entry.Code == lanes.CodeMalformed {
				s.Malformed++
			}
		}
	})
}

// ageOf returns for how long the broker has had an update, -1 if that is not known.
func ageOf(it *lanes.Item) time.Duration {
	if it.Published.IsZero() {
		return -1
	}
	return max(0, time.Since(it.Published))
}

package delivery

import (
	"maps"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/trace"

	"github.com/hms-utl/extsync/pkg/events"
)

// ChannelStats counts what one worker did for one channel since it started.
type ChannelStats struct {
	Attempts       uint64                    // calls for one update that reached the connector
	Failed         uint64                    // of these, without success
	Outcomes       map[events.Outcome]uint64 // final ones that were committed
	Probes         uint64                    // attempts to find out whether the target of a held channel is back
	RepliesRefused uint64                    // acks not sent because the reply subject is not allowed
	Malformed      uint64                    // updates that could not be read
	Resynced       uint64                    // updates that a resync delivered again
	Takeovers      uint64                    // partitions taken over or opened
	OpenFailures   uint64                    // times that the connector could not be opened
}

// stats is what a worker tells about itself.
type stats struct {
	observer Observer     // nil: nobody
	tracer   trace.Tracer // nil: no traces

	mu       sync.Mutex
	channels map[string]*ChannelStats
	now      Status // but for partitions
	tenures  map[*tenure]struct{}
	active   map[string]int // partitions of the active channels
}

func newStats() *stats {
	return &stats{channels: map[string]*ChannelStats{}, tenures: map[*tenure]struct{}{}, now: Status{Phase: Starting}}
}

// tell changes what Status says.
func (s *stats) tell(change func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.now)
}

// enter lists a tenure until the returned function is called.
func (s *stats) enter(t *tenure) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tenures[t] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.tenures, t)
	}
}

func (s *stats) status() (Status, []*tenure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now
	now.Blocked, now.Waits = slices.Clone(now.Blocked), slices.Clone(now.Waits)
	return now, slices.Collect(maps.Keys(s.tenures))
}

// add changes the counters of a channel.
func (s *stats) add(channel string, change func(*ChannelStats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.channels[channel]
	if !ok {
		c = &ChannelStats{Outcomes: map[events.Outcome]uint64{}}
		s.channels[channel] = c
	}
	change(c)
}

func (s *stats) snapshot() map[string]ChannelStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]ChannelStats, len(s.channels))
	for name, c := range s.channels {
		copied := *c
		copied.Outcomes = maps.Clone(c.Outcomes)
		out[name] = copied
	}
	return out
}

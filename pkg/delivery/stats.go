package delivery

import (
	"maps"
	"sync"

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
	Takeovers      uint64                    // partitions taken over or opened
}

type stats struct {
	mu       sync.Mutex
	channels map[string]*ChannelStats
}

func newStats() *stats { return &stats{channels: map[string]*ChannelStats{}} }

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

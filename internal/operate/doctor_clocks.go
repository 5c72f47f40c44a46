package operate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery"
)

// brokerClockLimit is by how much the clocks of brokers may not differ: a server
// that is ahead by more would drop the lease of a worker that is alive.
const brokerClockLimit = channels.PresenceAge - delivery.MaxLeaseTTL

// A clockReading is what a broker's clock said.
type clockReading struct {
	ahead  time.Duration // of this machine's
	within time.Duration // that is not certain by so much
}

// brokerClocks compares the clocks of the servers of a cluster. The one that leads
// a stream puts its time into what it says of it, so one that leads none cannot be
// read.
func (d *doctor) brokerClocks(ctx context.Context, _ *channels.Registry) error {
	leads := map[string]string{} // stream by its leader
	brokers := map[string]bool{}
	list := d.c.JS.ListStreams(ctx)
	for info := range list.Info() {
		if info.Cluster == nil || info.Cluster.Leader == "" || !wire.OwnsStream(d.c.Names, info.Config.Name) {
			continue
		}
		leads[info.Cluster.Leader] = info.Config.Name
		brokers[info.Cluster.Leader] = true
		for _, replica := range info.Cluster.Replicas {
			brokers[replica.Name] = true
		}
	}
	if err := list.Err(); err != nil {
		return fmt.Errorf("list the streams: %w", err)
	}
	readings := map[string]clockReading{}
	for leader, stream := range leads {
		asked := time.Now()
		s, err := d.c.JS.Stream(ctx, stream)
		if err != nil {
			return fmt.Errorf("ask %s for the time: %w", leader, err)
		}
		half := time.Since(asked) / 2
		if info := s.CachedInfo(); info.Cluster != nil && info.Cluster.Leader == leader {
			readings[leader] = clockReading{ahead: info.TimeStamp.Sub(asked.Add(half)), within: half}
		}
	}
	var unread []string
	for broker := range brokers {
		if _, read := readings[broker]; !read {
			unread = append(unread, broker)
		}
	}
	level, message := judgeClocks(readings, unread)
	d.add(level, "broker clocks", "", message,
		fmt.Sprintf("let all brokers follow the same time service: from %s on, a worker that is alive can lose its leases when another server leads", brokerClockLimit))
	return nil
}

// judgeClocks says how far the clocks of brokers are apart.
func judgeClocks(readings map[string]clockReading, unread []string) (level, message string) {
	if len(readings)+len(unread) < 2 {
		return LevelOK, "there is one broker: no clock to compare its own with"
	}
	rest := ""
	if len(unread) > 0 {
		slices.Sort(unread)
		rest = fmt.Sprintf("; no stream is led by %s, whose clocks were not read", strings.Join(unread, ", "))
	}
	if len(readings) < 2 {
		return LevelOK, "one broker leads all streams: there is no clock to compare its own with" + rest
	}
	var ahead []time.Duration
	var within time.Duration
	for _, r := range readings {
		ahead = append(ahead, r.ahead)
		within = max(within, 2*r.within)
	}
	apart := slices.Max(ahead) - slices.Min(ahead)
	message = fmt.Sprintf("the clocks of %d brokers differ by %s, give or take %s%s", len(readings), apart.Round(time.Millisecond), within.Round(time.Millisecond), rest)
	switch certain := apart - within; {
	case certain >= brokerClockLimit:
		return LevelProblem, message
	case certain > doctorClock:
		return LevelWarning, message
	default:
		return LevelOK, message
	}
}

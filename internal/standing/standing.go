// Package standing says how channels stand: what is undelivered, who has it, and why
// it does not move. It is made of what the registry, the partitions' progress and the
// live workers say, in one place for the CLI, the HTTP API and everybody else.
package standing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

const (
	// alarmAfter is for how long an update must have waited until that nobody has its
	// partition, or that its target fails, is an alarm: a hand-over takes a moment.
	alarmAfter = 10 * time.Second
	// silentAfter is for how long a worker may have a partition with something to do,
	// write no progress and say nothing.
	silentAfter = time.Minute
)

// The states of a channel.
const (
	Active   = "active"
	Blocked  = "blocked" // in part at least: nothing gets through there until somebody acts
	Stalled  = "stalled" // in part at least: an alarm for another reason
	Paused   = "paused"
	Changing = "changing" // its partitions
	Deleted  = "deleted"
	NoStream = "no stream"
)

// A Channel is how a channel stands.
type Channel struct {
	State       string
	Undelivered uint64    // updates without an outcome
	AtMost      bool      // of Undelivered: it may be a few too many
	Oldest      time.Time // when the oldest of them was published; zero if there is none
	Messages    uint64    // that the channel's stream holds
	Bytes       uint64    // of these
	Published   uint64    // updates ever stored
	Findings    []Finding // the most urgent first
	Partitions  []Partition
	// Health is the worst of the channel and of its keys, without those that were given up:
	// Standings tell their number.
	Health why.Health
	// Standings say how its keys stand; nil while they are not counted. Updates that nobody has
	// looked at count as waiting, and so many fewer keys as in sync: that is never too high.
	Standings why.Counts
	// Stock is what the channel has in the shared streams; nil while it is not known of all
	// partitions.
	Stock *channels.Census
}

// A Partition is how a partition stands.
type Partition struct {
	Partition   int
	Worker      string // that is alive and says that it has it; "" if nobody does
	Undelivered uint64
	Why         *why.Reason // nil: it moves, or has nothing to do
	Alarm       bool
	Progress    channels.Progress
}

// Circuit returns the worst circuit of the partitions: closed, open or blocked; "" if
// no worker has said anything of one.
func (c *Channel) Circuit() string {
	worst := ""
	for i := range c.Partitions {
		order := []string{"", "closed", "open", "blocked"}
		if state := c.Partitions[i].Circuit(); slices.Index(order, state) > slices.Index(order, worst) {
			worst = state
		}
	}
	return worst
}

// Circuit returns the circuit in front of the target: closed, open or blocked; "" if the
// worker that has the partition has said nothing of it, or nobody has it.
func (p *Partition) Circuit() string {
	switch {
	case p.Why != nil && p.Why.Code.Blocks():
		return "blocked"
	case p.Why != nil && p.Why.Code == why.CircuitOpen:
		return "open"
	case p.Worker != "" && p.Worker == p.Progress.Worker:
		return p.Progress.Circuit
	default:
		return ""
	}
}

// NextProbe returns when the target is tried again, by whichever worker is the first;
// zero if calls flow, and while a probe is on its way.
func (c *Channel) NextProbe() time.Time {
	var first time.Time
	for i := range c.Partitions {
		first = earlier(first, c.Partitions[i].NextProbe())
	}
	return first
}

// NextProbe returns when the target is tried again; zero if calls flow, and while a
// probe is on its way.
func (p *Partition) NextProbe() time.Time {
	if p.Why == nil || !p.Why.Code.Probed() {
		return time.Time{}
	}
	return p.Why.Next
}

// Restored returns when a worker found that the broker holds older files than before,
// without a new incarnation; zero if none has.
func (c *Channel) Restored() time.Time {
	var first time.Time
	for i := range c.Partitions {
		first = earlier(first, c.Partitions[i].Progress.RestoredTime())
	}
	return first
}

// earlier returns the earlier of two times of which either may be zero.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Alarm reports whether a finding is an alarm.
func (c *Channel) Alarm() bool {
	return slices.ContainsFunc(c.Findings, func(f Finding) bool { return f.Alarm })
}

// A Looker looks at channels. It is safe for concurrent use.
type Looker struct {
	JS       jetstream.JetStream
	Names    events.Names
	Registry *channels.Registry
	// Backlogs counts what is undelivered; nil: Registry does.
	Backlogs interface {
		Backlog(ctx context.Context, e channels.Entry) (channels.Backlog, error)
	}
}

// Channel says how a channel stands, given the workers as they were seen.
func (l Looker) Channel(ctx context.Context, e channels.Entry, crew workers.Crew) (Channel, error) {
	backlogs := l.Backlogs
	if backlogs == nil {
		backlogs = l.Registry
	}
	b, err := backlogs.Backlog(ctx, e)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return Gone(wire.UpdateStream(l.Names, e.Config.Route())), nil
	}
	if err != nil {
		return Channel{}, err
	}
	return Judge(e, b, crew), nil
}

// Gone is how a channel stands whose stream is not there.
func Gone(stream string) Channel {
	r := why.Reason{Code: why.StreamGone, Message: "stream " + stream + " is gone, and updates with it"}
	return Channel{State: NoStream, Health: r.Code.Health(), Findings: []Finding{{Reason: r, Alarm: true, Advice: r.Code.Advice()}}}
}

// State returns the state of a channel by the registry alone.
func State(e channels.Entry) string {
	switch {
	case !e.Deleted.IsZero():
		return Deleted
	case e.Gated:
		return Changing
	case e.Paused():
		return Paused
	default:
		return Active
	}
}

// ofChannel returns why nothing of a channel moves, by the registry alone.
func ofChannel(e channels.Entry) *why.Reason {
	switch State(e) {
	case Deleted:
		return &why.Reason{Code: why.Deleted, Message: "the channel is deleted", Since: e.Deleted}
	case Changing:
		return &why.Reason{Code: why.Changing, Message: "the channel's partitions are being changed"}
	case Paused:
		return &why.Reason{Code: why.Paused, Message: "the channel is paused"}
	default:
		return nil
	}
}

// Judge says how a channel stands.
func Judge(e channels.Entry, b channels.Backlog, crew workers.Crew) Channel {
	c := Channel{
		State: State(e), Undelivered: b.Undelivered, AtMost: b.AtMost, Oldest: b.Oldest, Messages: b.Messages, Bytes: b.Bytes, Published: b.Published,
		Partitions: make([]Partition, len(b.Partitions)),
	}
	held := ofChannel(e)
	for p := range b.Partitions {
		part := b.Partitions[p]
		if part.Undelivered > 0 && part.Oldest.IsZero() { // all of it is parked
			part.Oldest = b.Oldest
		}
		if held != nil {
			c.Partitions[p] = Partition{Partition: p, Undelivered: part.Undelivered, Why: held, Progress: part.Progress, Worker: owner(e, p, crew)}
			continue
		}
		if c.Partitions[p] = judge(e, p, &part, crew); c.Partitions[p].Why == nil {
			c.Partitions[p].Why = filling(&b)
		}
	}
	c.Findings = gather(c.Partitions)
	c.Stock = stockOf(e, c.Partitions)
	if r := remade(e, c.Stock); r != nil {
		c.Findings = append(c.Findings, Finding{Reason: *r, Advice: r.Code.Advice()})
	}
	c.Standings = c.standings()
	c.Health = c.health()
	if r := full(e, &b); r != nil {
		c.Findings = append(c.Findings, Finding{Reason: *r, Advice: r.Code.Advice()})
	}
	if c.State == Active && len(c.Findings) > 0 {
		switch {
		case slices.ContainsFunc(c.Findings, func(f Finding) bool { return f.Code.Blocks() }):
			c.State = Blocked
		case c.Alarm():
			c.State = Stalled
		}
	}
	return c
}

func owner(e channels.Entry, partition int, crew workers.Crew) string {
	if b := crew.Owner(workers.Shard(e.Config.Name, partition)); b != nil {
		return b.Worker
	}
	return ""
}

// judge says how a partition of an active channel stands.
func judge(e channels.Entry, p int, b *channels.PartitionBacklog, crew workers.Crew) Partition {
	out := Partition{Partition: p, Undelivered: b.Undelivered, Progress: b.Progress}
	shard := workers.Shard(e.Config.Name, p)
	at := crew.Owner(shard)
	if at == nil {
		out.Why = unowned(shard, crew)
	} else {
		out.Worker = at.Worker
		out.Why = told(e.Config.Name, p, b, at)
		if out.Why == nil && b.Undelivered > b.Parked {
			out.Why = silent(b, at, crew.At)
		}
	}
	if r := out.Why; r != nil && b.Undelivered > 0 && r.Code.Alarming() {
		out.Alarm = r.Code.Blocks() || crew.At.Sub(b.Oldest) >= alarmAfter
	}
	return out
}

// unowned says why nobody has a shard.
func unowned(shard int, crew workers.Crew) *why.Reason {
	r := &why.Reason{Code: why.NoWorker}
	n := crew.Alive()
	switch wanted := crew.Wanted(shard); {
	case n == 0:
		r.Message = "no connector-worker is alive"
	case wanted != nil:
		r.Worker = wanted.Worker
		r.Message = "it should have it and does not get its lease: somebody who does not announce himself holds it"
	default:
		r.Message = fmt.Sprintf("none of the live workers has it or should have it: %d", n)
	}
	return r
}

// told returns what the worker that has a partition says of it. The progress may know
// of a circuit before the worker's next beat, and of one that its record has no room
// for.
func told(channel string, p int, b *channels.PartitionBacklog, at *workers.Beat) *why.Reason {
	for i := range at.Waits {
		if w := &at.Waits[i]; w.Concerns(channel, p) {
			r := w.Reason(at.Worker)
			return &r
		}
	}
	if b.Progress.Worker != at.Worker || b.Progress.Clean {
		return nil
	}
	r := &why.Reason{Message: b.Progress.Reason, Worker: at.Worker, Since: b.Progress.SinceTime(), Next: b.Progress.NextProbeTime()}
	switch b.Progress.Circuit {
	case "open":
		r.Code = why.CircuitOpen
	case "blocked":
		r.Code = why.Misconfigured
	default:
		return nil
	}
	return r
}

// silent says that a worker has a partition with something to do, and neither does it
// nor says why not.
func silent(b *channels.PartitionBacklog, at *workers.Beat, now time.Time) *why.Reason {
	last := b.Written
	if b.Oldest.After(last) {
		last = b.Oldest
	}
	if now.Sub(last) < silentAfter {
		return nil
	}
	r := &why.Reason{Code: why.NoProgress, Worker: at.Worker, Since: last, Message: "it has the partition, settles nothing and does not say why"}
	if !b.Consumer {
		r.Message += "; the broker has no consumer for it"
	}
	if at.More > 0 {
		r.Message = fmt.Sprintf("it settles nothing; %d channels wait there for reasons that found no room in its record", at.More)
	}
	return r
}

package operate

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

// handOverTime is for how long a partition may have no worker while it changes hands,
// where the workers do not say. Who finds one without looks again after that time.
const handOverTime = 4 * time.Second

// Workers are the workers, and what nobody works on.
type Workers struct {
	Workers []WorkerView `json:"workers"`
	// Unowned are partitions of active channels that no live worker says it has.
	Unowned []UnownedPartitions `json:"unowned"`
}

// A WorkerView is a worker as it has last announced itself.
type WorkerView struct {
	Worker string `json:"worker"`
	Alive  bool   `json:"alive"`
	// Draining: it is alive, was told to end, and still has what it works on.
	Draining bool      `json:"draining,omitempty"`
	Beat     time.Time `json:"last_beat"`
	Age      float64   `json:"last_beat_age_seconds"`
	Host     string    `json:"host,omitempty"`
	PID      int       `json:"pid,omitempty"`
	Version  string    `json:"version,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	Shards   []int     `json:"shards"`
	// Wants are shards that are its share and that it does not get.
	Wants []int `json:"wants,omitempty"`
	// Channels that it works on, and what of them waits there.
	Channels int    `json:"channels"`
	Waits    []Wait `json:"waits"`
	More     int    `json:"more_waits,omitempty"` // that found no room in its record
	Error    string `json:"error,omitempty"`      // why its record cannot be read
}

// A Wait is a channel, or some of its partitions, that does not move at a worker.
type Wait struct {
	Channel    string `json:"channel"`
	Partitions []int  `json:"partitions,omitempty" doc:"None: all that the worker has"`
	why.Reason
	Advice string `json:"advice"`
	// Stalled says that the worker has updates in hand there and has settled nothing for as
	// long as it was told to bear that.
	Stalled bool `json:"stalled"`
}

// UnownedPartitions are partitions of a channel that nobody has.
type UnownedPartitions struct {
	Channel string `json:"channel"`
	standing.Finding
}

// Waiting reports whether updates wait for a worker.
func (w *Workers) Waiting() bool {
	return slices.ContainsFunc(w.Unowned, func(u UnownedPartitions) bool { return u.Undelivered > 0 })
}

// Only leaves out what is said of channels that allows does not let through.
func (w *Workers) Only(allows func(channel string) bool) {
	w.Unowned = slices.DeleteFunc(w.Unowned, func(u UnownedPartitions) bool { return !allows(u.Channel) })
	for i := range w.Workers {
		w.Workers[i].Waits = slices.DeleteFunc(w.Workers[i].Waits, func(x Wait) bool { return !allows(x.Channel) })
	}
}

// Workers returns the workers as they have last announced themselves, and the
// partitions that nobody has. Where there are some it looks twice, a few seconds apart:
// a hand-over takes a moment.
func (c *Client) Workers(ctx context.Context) (Workers, error) {
	out, err := c.workers(ctx)
	if err != nil || len(out.Unowned) == 0 || !sleep.For(ctx, handOverTime) {
		return out, err
	}
	return c.workers(ctx)
}

func (c *Client) workers(ctx context.Context) (Workers, error) {
	out := Workers{Workers: []WorkerView{}, Unowned: []UnownedPartitions{}}
	registry, err := c.Registry(ctx)
	if err != nil {
		return out, err
	}
	entries, err := registry.List(ctx)
	if err != nil {
		return out, err
	}
	crew, err := workers.Read(ctx, c.JS, c.Names)
	if err != nil {
		return out, err
	}
	for i := range crew.Beats {
		out.Workers = append(out.Workers, viewOf(&crew.Beats[i]))
	}
	look := standing.Looker{JS: c.JS, Names: c.Names, Registry: registry}
	entries = slices.DeleteFunc(entries, func(e channels.Entry) bool { return standing.State(e) != standing.Active || owned(e, crew) })
	stands := make([]standing.Channel, len(entries))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(boardAtOnce)
	for i, e := range entries {
		group.Go(func() (err error) {
			stands[i], err = look.Channel(gctx, e, crew)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return out, err
	}
	for i, e := range entries {
		for _, f := range stands[i].Findings {
			if f.Code == why.NoWorker {
				out.Unowned = append(out.Unowned, UnownedPartitions{e.Config.Name, f})
			}
		}
	}
	return out, nil
}

// owned reports whether every partition of a channel has a worker.
func owned(e channels.Entry, crew workers.Crew) bool {
	for p := range e.Config.Partitions {
		if crew.Owner(workers.Shard(e.Config.Name, p)) == nil {
			return false
		}
	}
	return true
}

func viewOf(b *workers.Beat) WorkerView {
	v := WorkerView{
		Worker: b.Worker, Alive: b.Alive, Draining: b.Draining, Beat: b.At, Age: max(b.Age, 0).Seconds(), Host: b.Host, PID: b.PID, Version: b.Version,
		Started: b.Started, Shards: append([]int{}, b.Shards...), Wants: b.Wants, Channels: b.Working,
		Waits: []Wait{}, More: b.More,
	}
	for i := range b.Waits {
		w := &b.Waits[i]
		v.Waits = append(v.Waits, Wait{Channel: w.Channel, Partitions: w.Partitions, Reason: w.Reason(""), Advice: w.Code.Advice(), Stalled: w.Stalled})
	}
	if b.Bad != nil {
		v.Error = b.Bad.Error()
	}
	return v
}

// SettledStatus is Status, but looks twice, a few seconds apart, where a partition has
// no worker: a hand-over takes a moment.
func (c *Client) SettledStatus(ctx context.Context, channel string) (Status, error) {
	out, err := c.Status(ctx, channel)
	handed := func(s ChannelStatus) bool {
		return slices.ContainsFunc(s.Reasons, func(f standing.Finding) bool { return f.Code == why.NoWorker || f.Code == why.TakingOver })
	}
	if err != nil || !slices.ContainsFunc(out.Channels, handed) || !sleep.For(ctx, handOverTime) {
		return out, err
	}
	return c.Status(ctx, channel)
}

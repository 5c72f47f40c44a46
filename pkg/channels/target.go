package channels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/wire"
)

// ControlProbe asks the owner of a partition to try a target that it waits for now.
const ControlProbe = "probe"

// probePatience bounds how long Probe waits for the owners' answers.
const probePatience = 20 * time.Second

// Reload has every worker open the channel's connector anew, so that it reads its
// secrets again. Deliveries go on meanwhile, and calls in flight end with the
// connector that they began with. A worker that is away does it when it is back: at
// its start it reads them anyway. A connector that cannot be opened anew is used
// further as it is, and the worker's log and the channel's status say why.
func (r *Registry) Reload(ctx context.Context, name string) (Entry, error) {
	e, err := r.Get(ctx, name)
	if err != nil {
		return Entry{}, err
	}
	if !e.Deleted.IsZero() {
		return Entry{}, deletedError(e)
	}
	e.Reloads++
	return r.store(ctx, e.stored(), e.Revision)
}

// Probed is what the owner of a partition says of its channel's target.
type Probed struct {
	Partition int `json:"partition"`
	// Worker is the owner; "" if there is none.
	Worker string `json:"worker,omitempty"`
	// Circuit is closed, open or blocked, after the probe if there was something to
	// try it with. Reason says why it is not closed, NextProbe when it is tried again.
	Circuit   string    `json:"circuit,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	NextProbe time.Time `json:"next_probe,omitzero"`
	// Error says why the owner did not answer.
	Error string `json:"error,omitempty"`
}

// Probe has all owners of a channel's partitions try its target now, where they wait
// for it: with the next update that is due, and secrets that were read again. It
// returns what came of it, by partition; it fails with ErrNoOwner if nobody owns any.
// Where calls flow nothing is tried. A wait that the target has asked for ends.
func (r *Registry) Probe(ctx context.Context, name string) ([]Probed, error) {
	e, err := r.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if !e.Deleted.IsZero() {
		return nil, deletedError(e)
	}
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	out := make([]Probed, e.Config.Partitions)
	var group errgroup.Group
	for p := range out {
		group.Go(func() error {
			out[p] = r.probe(ctx, name, p)
			return nil
		})
	}
	_ = group.Wait() // none fails
	for _, p := range out {
		if p.Worker != "" {
			return out, nil
		}
	}
	return nil, fmt.Errorf("%w: channel %s", ErrNoOwner, name)
}

func (r *Registry) probe(ctx context.Context, name string, partition int) Probed {
	out := Probed{Partition: partition}
	reply, err := r.control(ctx, name, partition, ControlRequest{Format: wire.Format, Op: ControlProbe})
	if err != nil {
		out.Error = err.Error()
		return out
	}
	out.Worker, out.Circuit, out.Reason = reply.Worker, reply.Circuit, reply.Reason
	if reply.NextProbe != 0 {
		out.NextProbe = time.UnixMilli(reply.NextProbe).UTC()
	}
	return out
}

// control asks the owner of a partition.
func (r *Registry) control(ctx context.Context, channel string, partition int, req ControlRequest) (ControlReply, error) {
	data, err := json.Marshal(req)
	if err != nil {
		return ControlReply{}, err
	}
	msg, err := r.js.Conn().RequestWithContext(ctx, wire.Control(r.names, channel, partition), data)
	if errors.Is(err, nats.ErrNoResponders) {
		return ControlReply{}, fmt.Errorf("%w: channel %s, partition %d", ErrNoOwner, channel, partition)
	}
	if err != nil {
		return ControlReply{}, err
	}
	var reply ControlReply
	if err := json.Unmarshal(msg.Data, &reply); err != nil {
		return ControlReply{}, fmt.Errorf("answer of the owner: %w", err)
	}
	return reply, nil
}

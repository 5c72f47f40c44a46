package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// ChannelStatus says how a channel is.
type ChannelStatus struct {
	Channel string `json:"channel"`
	State   string `json:"state" enum:"active,paused,deleted,changing"`
	// Lag is an upper bound where a partition has no worker.
	Lag           uint64            `json:"lag" doc:"Updates without an outcome"`
	OldestPending time.Time         `json:"oldest_pending,omitzero" doc:"When the oldest of them was published; about a second old"`
	PendingAge    float64           `json:"oldest_pending_age_seconds"`
	Circuit       string            `json:"circuit" doc:"closed, open or blocked: the worst of the partitions"`
	FailingSince  time.Time         `json:"failing_since,omitzero"`
	LastError     string            `json:"last_error,omitempty" doc:"Why it is failing"`
	Partitions    []PartitionStatus `json:"partitions"`
}

// PartitionStatus says how one partition is.
type PartitionStatus struct {
	Partition    int       `json:"partition"`
	Worker       string    `json:"worker,omitempty" doc:"Who has worked on it last"`
	HandedOver   bool      `json:"handed_over" doc:"That worker has ended, and no other has begun"`
	Circuit      string    `json:"circuit"`
	FailingSince time.Time `json:"failing_since,omitzero"`
	Error        string    `json:"error,omitempty"`
}

type statusOutput struct{ Body ChannelStatus }

func (s *server) statusRoute() {
	register(s, route{
		id: "get-channel-status", method: http.MethodGet, path: "/v1/channels/{channel}/status", tag: "Channels",
		summary: "How is a channel?", rule: read, status: http.StatusOK,
	}, func(ctx context.Context, in *channelInput) (*statusOutput, error) {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		status, err := s.status(ctx, in.Channel)
		return &statusOutput{Body: status}, err
	})
}

func (s *server) status(ctx context.Context, channel string) (ChannelStatus, error) {
	st := ChannelStatus{Channel: channel, State: "active", Circuit: circuitClosed, Partitions: []PartitionStatus{}}
	e, err := s.o.Registry.Get(ctx, channel)
	if err != nil {
		return st, err
	}
	switch {
	case !e.Deleted.IsZero():
		st.State = "deleted"
	case e.Gated:
		st.State = "changing"
	case e.Paused():
		st.State = "paused"
	}
	if st.Lag, err = s.o.Registry.Undelivered(ctx, channel); err != nil {
		return st, err
	}
	lowest := ^uint64(0)
	for partition := range e.Config.Partitions {
		p, _, err := s.o.Progress.Read(ctx, channel, e.Generation, partition)
		if err != nil {
			return st, err
		}
		lowest = min(lowest, p.Floor)
		st.add(partition, &p)
	}
	if st.Lag == 0 {
		return st, nil
	}
	if st.OldestPending, err = s.oldest(ctx, e, lowest+1); err != nil {
		return st, err
	}
	if !st.OldestPending.IsZero() {
		st.PendingAge = max(0, time.Since(st.OldestPending).Seconds())
	}
	return st, nil
}

const circuitClosed = "closed"

func (st *ChannelStatus) add(partition int, p *channels.Progress) {
	ps := PartitionStatus{Partition: partition, Worker: p.Worker, HandedOver: p.Clean, Circuit: circuitClosed}
	if p.Circuit != "" && p.Circuit != circuitClosed {
		ps.Circuit, ps.FailingSince, ps.Error = p.Circuit, p.SinceTime(), p.Reason
		if st.Circuit == circuitClosed || p.Circuit == "blocked" {
			st.Circuit, st.LastError = p.Circuit, p.Reason
		}
		if st.FailingSince.IsZero() || ps.FailingSince.Before(st.FailingSince) {
			st.FailingSince = ps.FailingSince
		}
	}
	st.Partitions = append(st.Partitions, ps)
}

// oldest returns when the first update was stored that is not known to be
// settled: in the stream from a sequence on, or parked.
func (s *server) oldest(ctx context.Context, e channels.Entry, from uint64) (time.Time, error) {
	if e.Config.Mode == channels.Every { // what is settled is gone
		from = 1
	}
	var oldest time.Time
	for _, q := range []struct {
		stream string
		query  events.MessageQuery
	}{
		{s.o.Names.UpdateStream(e.Config.Name), events.MessageQuery{NextOn: ">", Sequence: from}},
		{s.o.Names.ParkedStream(), events.MessageQuery{NextOn: s.o.Names.ParkedFilter(e.Config.Name), Sequence: 1}},
	} {
		msg, err := events.ReadFromLeader(ctx, s.o.JS, q.stream, q.query)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return oldest, fmt.Errorf("oldest pending update: %w", err)
		}
		if oldest.IsZero() || msg.Time.Before(oldest) {
			oldest = msg.Time
		}
	}
	return oldest, nil
}

package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

// ChannelStatus says how a channel is.
type ChannelStatus struct {
	Channel       string            `json:"channel"`
	State         string            `json:"state" enum:"active,blocked,stalled,paused,deleted,changing,no stream" doc:"blocked: nothing gets through in part of it until somebody acts; stalled: an alarm for another reason"`
	Lag           uint64            `json:"lag" doc:"Updates without an outcome, parked ones included"`
	LagAtMost     bool              `json:"lag_at_most" doc:"A few too many may be counted in lag"`
	OldestPending time.Time         `json:"oldest_pending,omitzero" doc:"When the oldest of them was published; about a second old"`
	PendingAge    float64           `json:"oldest_pending_age_seconds"`
	Keys          *int64            `json:"keys,omitempty" doc:"Keys that the ledger knows; none: not counted yet"`
	Outdated      *int64            `json:"outdated,omitempty" doc:"Those of them that the target holds as an older configuration of the channel has made them"`
	Circuit       string            `json:"circuit,omitempty" enum:"closed,open,blocked" doc:"The worst of the partitions; none: no live worker has said"`
	FailingSince  time.Time         `json:"failing_since,omitzero"`
	LastError     string            `json:"last_error,omitempty" doc:"Why it is failing"`
	Alarm         bool              `json:"alarm" doc:"One of the reasons is an alarm: updates wait, and not because somebody wants them to"`
	Reasons       []Reason          `json:"reasons" doc:"Why partitions do not move, the most urgent first"`
	NextProbe     time.Time         `json:"next_probe,omitzero" doc:"When the target is tried again, by whichever worker is the first"`
	Restored      time.Time         `json:"restored,omitzero" doc:"When a worker found that the broker holds older files than before, without a new incarnation"`
	Partitions    []PartitionStatus `json:"partitions"`
}

// Reason says why partitions of a channel do not move.
type Reason struct {
	Why
	Partitions  []int  `json:"partitions,omitempty" doc:"None: all"`
	Undelivered uint64 `json:"undelivered" doc:"In these partitions"`
	Alarm       bool   `json:"alarm"`
}

// Why says why something does not move.
type Why struct {
	Code        why.Code  `json:"code" doc:"Stable; docs/http-api.md lists them"`
	Message     string    `json:"message"`
	Worker      string    `json:"worker,omitempty" doc:"Who has said so, or is the one that it is about"`
	Since       time.Time `json:"since,omitzero"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	Failing     *Failing  `json:"failing,omitempty" doc:"There if nobody gets through to the target"`
	Advice      string    `json:"advice" doc:"What to do"`
}

// Failing are the keys that fail while nobody gets through.
type Failing struct {
	Since time.Time `json:"since,omitzero" doc:"When the first of them failed"`
	Keys  []string  `json:"keys,omitempty" doc:"The first of them"`
	More  bool      `json:"more,omitempty" doc:"There are others"`
}

// NewWhy returns a reason in the API's terms; nil for none.
func NewWhy(r *why.Reason) *Why {
	if r == nil {
		return nil
	}
	w := &Why{Code: r.Code, Message: r.Message, Worker: r.Worker, Since: r.Since, NextAttempt: r.Next, Advice: r.Code.Advice()}
	if r.Failing != nil {
		w.Failing = (*Failing)(r.Failing)
	}
	return w
}

// PartitionStatus says how one partition is.
type PartitionStatus struct {
	Partition    int       `json:"partition"`
	Worker       string    `json:"worker,omitempty" doc:"Who is alive and has it; none: nobody"`
	LastWorker   string    `json:"last_worker,omitempty" doc:"Who has worked on it last"`
	HandedOver   bool      `json:"handed_over" doc:"That worker has ended, and no other has begun"`
	Circuit      string    `json:"circuit,omitempty" enum:"closed,open,blocked" doc:"None: no live worker has said"`
	FailingSince time.Time `json:"failing_since,omitzero"`
	Error        string    `json:"error,omitempty"`
	Undelivered  uint64    `json:"undelivered"`
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
	st := ChannelStatus{Channel: channel, Reasons: []Reason{}, Partitions: []PartitionStatus{}}
	e, err := s.o.Registry.Get(ctx, channel)
	if err != nil {
		return st, err
	}
	crew, err := workers.Read(ctx, s.o.JS, s.o.Names)
	if err != nil {
		return st, err
	}
	look := standing.Looker{JS: s.o.JS, Names: s.o.Names, Registry: s.o.Registry}
	c, err := look.Channel(ctx, e, crew)
	if err != nil {
		return st, err
	}
	st.State, st.Lag, st.LagAtMost, st.OldestPending, st.Alarm = c.State, c.Undelivered, c.AtMost, c.Oldest, c.Alarm()
	st.Circuit, st.NextProbe, st.Restored = c.Circuit(), c.NextProbe(), c.Restored()
	if c.Stock != nil {
		st.Keys, st.Outdated = &c.Stock.Keys, &c.Stock.Outdated
	}
	if !st.OldestPending.IsZero() {
		st.PendingAge = max(0, time.Since(st.OldestPending).Seconds())
	}
	for _, f := range c.Findings {
		st.Reasons = append(st.Reasons, Reason{Why: *NewWhy(&f.Reason), Partitions: f.Partitions, Undelivered: f.Undelivered, Alarm: f.Alarm})
	}
	for i := range c.Partitions {
		st.add(&c.Partitions[i])
	}
	return st, nil
}

func (st *ChannelStatus) add(p *standing.Partition) {
	ps := PartitionStatus{
		Partition: p.Partition, Worker: p.Worker, LastWorker: p.Progress.Worker, HandedOver: p.Progress.Clean,
		Circuit: p.Circuit(), Undelivered: p.Undelivered,
	}
	switch {
	case p.Why != nil && (p.Why.Code.Probed() || p.Why.Code.Blocks()):
		ps.FailingSince, ps.Error = p.Why.Since, p.Why.String()
	case ps.Circuit == "open", ps.Circuit == "blocked": // and the channel is held back
		ps.FailingSince, ps.Error = p.Progress.SinceTime(), p.Progress.Reason
	}
	if ps.Error != "" {
		if st.LastError == "" || ps.Circuit == st.Circuit {
			st.LastError = ps.Error
		}
		if st.FailingSince.IsZero() || ps.FailingSince.Before(st.FailingSince) {
			st.FailingSince = ps.FailingSince
		}
	}
	st.Partitions = append(st.Partitions, ps)
}

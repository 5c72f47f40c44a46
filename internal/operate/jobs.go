package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/schema"
	"github.com/hms-utl/extsync/pkg/why"
)

// A JobRequest is a job that somebody wants to start.
type JobRequest struct {
	Action   jobs.Action    `json:"action" enum:"replay,discard,resync"`
	Letters  *jobs.Letters  `json:"letters,omitempty" doc:"Of replay and discard: which dead letters; none of its fields: all"`
	Entities *jobs.Entities `json:"entities,omitempty" doc:"Of resync: which keys of a channel"`
	Reason   string         `json:"reason,omitempty" maxLength:"1000" doc:"Why, for the audit log; discard needs one"`
	DryRun   bool           `json:"dry_run,omitempty" doc:"Do nothing; say what would happen"`
}

// maxReason bounds JobRequest.Reason.
const maxReason = 1000

// check fails with jobs.ErrInvalid, deadletters.ErrFilter or channels.ErrSelection.
func (r *JobRequest) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", jobs.ErrInvalid, fmt.Sprintf(format, args...))
	}
	switch {
	case len(r.Reason) > maxReason:
		return bad("the reason is longer than %d bytes", maxReason)
	case r.Action == jobs.Resync && (r.Entities == nil || r.Letters != nil):
		return bad("resync needs entities, and no letters")
	case (r.Action == jobs.Replay || r.Action == jobs.Discard) && (r.Letters == nil || r.Entities != nil):
		return bad("%s needs letters, and no entities", r.Action)
	case r.Action != jobs.Resync && r.Action != jobs.Replay && r.Action != jobs.Discard:
		return bad("action %.40q is none of replay, discard, resync", string(r.Action))
	case r.Action == jobs.Discard && r.Reason == "" && !r.DryRun:
		return bad("discard needs a reason: it is for good")
	case r.Entities != nil:
		return checkEntities(r.Entities)
	case r.Action == jobs.Replay && r.Letters.State != "" && r.Letters.State != string(deadletters.StateOpen):
		return bad("only open letters can be replayed")
	}
	return nil
}

func checkEntities(e *jobs.Entities) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: entities: %s", jobs.ErrInvalid, fmt.Sprintf(format, args...))
	}
	if e.Channel == "" {
		return bad("name a channel")
	}
	if len(e.Keys) > 0 && (e.Prefix != "" || filtered(e)) {
		return bad("either keys, or what selects them")
	}
	for _, s := range e.Sync {
		if !slices.Contains(why.Syncs(), s) {
			return bad("sync: %.40q is none of %v", string(s), why.Syncs())
		}
	}
	for _, h := range e.Health {
		if !slices.Contains(why.Healths(), h) {
			return bad("health: %.40q is none of %v", string(h), why.Healths())
		}
	}
	for _, c := range e.Why {
		if c.What() == "" {
			return bad("why: %.40q is no code of a reason", string(c))
		}
	}
	if e.OlderThan != "" {
		if d, err := schema.ParseDuration(e.OlderThan); err != nil || d <= 0 {
			return bad("older_than: %.40q is no duration such as 2h or 7d", e.OlderThan)
		}
	}
	return (&channels.Selection{Keys: e.Keys, Prefix: e.Prefix}).Validate()
}

// filtered reports whether keys are selected by how they stand.
func filtered(e *jobs.Entities) bool {
	return len(e.Sync)+len(e.Health)+len(e.Why) > 0 || e.OlderThan != ""
}

// letterFilter returns the filter of a selection.
func letterFilter(l *jobs.Letters) deadletters.Filter {
	f := deadletters.Filter{
		Channel: l.Channel, Key: l.Key, Prefix: l.Prefix, Outcome: events.Outcome(l.Outcome), Class: l.Class, Code: l.Code,
		Group: l.Group, After: l.After, Before: l.Before, State: deadletters.State(l.State),
	}
	if l.State == "any" {
		f.State, f.AnyState = "", true
	}
	return f
}

// Jobs returns the store of the jobs, or events.ErrNotProvisioned.
func (c *Client) Jobs(ctx context.Context) (*jobs.Store, error) { return jobs.Open(ctx, c.JS, c.Names) }

// StartJob stores a job for a runner, and records that with its plan. It fails with
// jobs.ErrInvalid, deadletters.ErrFilter, channels.ErrNotFound, or as StartResync does.
func (c *Client) StartJob(ctx context.Context, r JobRequest) (jobs.Job, error) {
	var job jobs.Job
	plan, rec, err := c.planJob(ctx, r)
	if err != nil {
		return job, err
	}
	store, err := c.Jobs(ctx)
	if err != nil {
		return job, err
	}
	rec.Action, rec.Channel, rec.Reason, rec.Actor = r.Action, rec.Selection.Channel(), r.Reason, c.actor
	rec.Total = plan.Total
	act := auditlog.Act{Action: "job.start", Target: jobTarget(rec.Channel), Reason: r.Reason, Before: struct {
		Action    jobs.Action    `json:"action"`
		Selection jobs.Selection `json:"selection"`
		Plan      Plan           `json:"plan"`
	}{r.Action, rec.Selection, plan}}
	err = c.Act(ctx, act, func(ctx context.Context) (any, error) {
		var err error
		job, err = store.Create(ctx, rec)
		return job, err
	})
	return job, err
}

func jobTarget(channel string) string {
	if channel == "" {
		return ""
	}
	return "channel " + channel
}

// StopJob asks a job to stop, and records that. It fails with jobs.ErrNotFound or jobs.ErrOver.
func (c *Client) StopJob(ctx context.Context, id, reason string) (jobs.Job, error) {
	store, err := c.Jobs(ctx)
	if err != nil {
		return jobs.Job{}, err
	}
	job, err := store.Get(ctx, id)
	if err != nil {
		return job, err
	}
	act := auditlog.Act{Action: "job.stop", Target: jobTarget(job.Channel), Reason: reason, Before: job}
	err = c.Act(ctx, act, func(ctx context.Context) (any, error) {
		var err error
		job, err = store.Stop(ctx, id)
		return job, err
	})
	return job, err
}

// JobRunner returns what runs the jobs of the installation. It is for a client that may do
// everything.
func (c *Client) JobRunner(ctx context.Context, log zerolog.Logger) (*jobs.Runner, error) {
	store, err := c.Jobs(ctx)
	if err != nil {
		return nil, err
	}
	return &jobs.Runner{
		Store: store, Logger: log, Ended: c.jobEnded,
		Work: map[jobs.Action]jobs.Work{
			jobs.Replay:  func(ctx context.Context, run *jobs.Run) error { return c.workOnLetters(ctx, run) },
			jobs.Discard: func(ctx context.Context, run *jobs.Run) error { return c.workOnLetters(ctx, run) },
			jobs.Resync:  func(ctx context.Context, run *jobs.Run) error { return c.workOnKeys(ctx, run) },
		},
	}, nil
}

// jobEnded records the end of a job, as an act of whoever has started it.
func (c *Client) jobEnded(ctx context.Context, job jobs.Job) error {
	act := auditlog.Act{Action: "job.end", Target: jobTarget(job.Channel), Reason: job.Reason}
	return c.As(job.Actor, "").Act(ctx, act, func(context.Context) (any, error) { return job, nil })
}

// A Plan says what a job would do.
type Plan struct {
	Total    int           `json:"total" doc:"The sum of outcomes"`
	Outcomes []PlanOutcome `json:"outcomes" doc:"The largest first"`
	// GoesBack is 0: nothing that extsync does moves a target back to an older version.
	GoesBack int `json:"goes_back" doc:"Keys whose target would move back to an older version: always 0"`
	// Rate and Seconds are nil where no job of the kind has run lately.
	Rate    *float64  `json:"rate" doc:"Letters or keys a second, as the last such job had; null where there was none"`
	Seconds *float64  `json:"seconds" doc:"About how long it would take; null where it is not known"`
	At      time.Time `json:"at"`
	// Exact: each was looked at. What a target says is for it to say.
	Exact bool `json:"exact" doc:"Each was looked at; a target may still refuse what would be delivered"`
	// Note is about the channel, where nothing is delivered for now.
	Note string `json:"note,omitempty" doc:"Why nothing is delivered for now, such as that the channel is paused; none: it is"`
}

// A PlanOutcome is how some of a job's letters or keys would end.
type PlanOutcome struct {
	Outcome string `json:"outcome"`
	Count   int    `json:"count"`
	Text    string `json:"text" doc:"For people"`
}

// PlanJob says what a job would do, and does nothing. It fails as StartJob does.
func (c *Client) PlanJob(ctx context.Context, r JobRequest) (Plan, error) {
	r.DryRun = true
	plan, _, err := c.planJob(ctx, r)
	return plan, err
}

// planJob also returns the record of the job, as far as the plan says it.
func (c *Client) planJob(ctx context.Context, r JobRequest) (Plan, jobs.Record, error) {
	rec := jobs.Record{}
	if err := r.check(); err != nil {
		return Plan{}, rec, err
	}
	rec.Selection = jobs.Selection{Letters: r.Letters, Entities: r.Entities}
	var counts tally
	var err error
	if r.Entities != nil {
		counts, err = c.planKeys(ctx, r.Entities, &rec)
	} else {
		counts, err = c.planLetters(ctx, r.Action, r.Letters, &rec)
	}
	if err != nil {
		return Plan{}, rec, err
	}
	plan := counts.plan(r.Action)
	rate, err := c.lastRate(ctx, r.Action, rec.Selection.Channel())
	if err != nil {
		return Plan{}, rec, err
	}
	if rate > 0 {
		seconds := float64(int(float64(plan.Total)/rate*10)) / 10
		plan.Rate, plan.Seconds = &rate, &seconds
	}
	return plan, rec, nil
}

// lastRate returns how fast the last job of a kind was; 0 if there was none.
func (c *Client) lastRate(ctx context.Context, action jobs.Action, channel string) (float64, error) {
	store, err := c.Jobs(ctx)
	if err != nil {
		return 0, err
	}
	page, err := store.List(ctx, jobs.MaxPage, "", nil)
	for _, j := range page.Jobs {
		if j.Action == action && j.Channel == channel && j.Rate > 0 {
			return j.Rate, nil
		}
	}
	return 0, err
}

// A patience is for how long something that is missing is waited for, from when it was
// found missing first.
type patience struct {
	most  time.Duration
	since map[string]time.Time
}

// over reports whether what is missing has been so for too long.
func (p *patience) over(what string) bool {
	at, ok := p.since[what]
	if !ok {
		p.since[what] = time.Now()
		return false
	}
	return time.Since(at) > p.most
}

// channelGone reports whether an error says that there is no such channel, or not any more.
func channelGone(err error) bool {
	return errors.Is(err, channels.ErrNotFound) || errors.Is(err, channels.ErrDeleted)
}

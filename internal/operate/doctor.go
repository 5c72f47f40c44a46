package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

// The levels of a Diagnosis.
const (
	LevelOK      = "ok"
	LevelWarning = "warning"
	LevelProblem = "problem"
)

// A Diagnosis is the result of one check.
type Diagnosis struct {
	Check   string `json:"check"`
	Level   string `json:"level"`
	Subject string `json:"subject,omitempty"` // a stream or a channel
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"` // what to do
	Fixed   bool   `json:"fixed,omitempty"`

	Missing *MissingPermissions `json:"missing,omitempty"`
}

// An Examination is what Examine has found.
type Examination struct {
	Bad      int         `json:"bad" doc:"Findings that are not ok"`
	Findings []Diagnosis `json:"findings"`
}

// MissingPermissions are subjects that a role needs and may not use.
type MissingPermissions struct {
	Publish   []string `json:"publish,omitempty"`
	Subscribe []string `json:"subscribe,omitempty"`
}

// ExamineOptions say what to examine.
type ExamineOptions struct {
	// Fix tidies what can be tidied without harm: dead letters that are settled,
	// and channels whose time to be restored is over. Streams that are gone it makes
	// again, empty.
	Fix bool
	// Role is what the connection is to the broker, and so what it may see.
	// Defaults to brokerconfig.Admin.
	Role brokerconfig.Role
	// NoTargets leaves out what needs a connection to a channel's target from here.
	NoTargets bool
}

const (
	doctorClock = 2 * time.Second
	doctorProbe = 15 * time.Second
)

// Examine looks at the broker, what it lets the role do, its streams, and every
// channel with its target, and says what it finds. Roles other than the
// administrator's see less: a publisher the broker only, a worker the targets too.
// It fails only when it cannot look.
func (c *Client) Examine(ctx context.Context, o ExamineOptions) (Examination, error) {
	found, err := c.examine(ctx, o)
	out := Examination{Findings: append([]Diagnosis{}, found...)}
	for _, f := range found {
		if f.Level != LevelOK {
			out.Bad++
		}
	}
	return out, err
}

func (c *Client) examine(ctx context.Context, o ExamineOptions) ([]Diagnosis, error) {
	d := doctor{c: c, fix: o.Fix, role: cmp.Or(o.Role, brokerconfig.Admin), noTargets: o.NoTargets}
	if err := d.connection(); err != nil {
		return d.found, err
	}
	if !d.permissions(ctx) {
		return d.found, nil
	}
	if err := d.clock(ctx); err != nil {
		return d.found, err
	}
	if d.role != brokerconfig.Admin {
		return d.found, d.limited(ctx)
	}
	if o.Fix {
		if err := d.mend(ctx); err != nil {
			return d.found, err
		}
	}
	drift, err := channels.SharedDrift(ctx, c.JS, c.Names, c.storage)
	if err != nil {
		return d.found, err
	}
	d.drift("shared streams", drift, "run 'extsync channels apply' with the --storage-... settings that you want; give doctor the same ones")
	if err := d.account(ctx); err != nil {
		return d.found, err
	}
	for _, x := range drift {
		if x.Missing {
			return d.found, nil // the rest would fail for that reason
		}
	}
	registry, err := c.Registry(ctx)
	if err != nil {
		return d.found, err
	}
	if drift, err = registry.Drift(ctx); err != nil {
		return d.found, err
	}
	d.drift("channel streams", drift, "run 'extsync channels apply' with the channel's file: it puts the stream right")
	for _, check := range []func(context.Context, *channels.Registry) error{
		d.orphans, d.room, d.stores, d.brokerClocks, d.workers, d.channels, d.resolved, d.deleted,
	} {
		if err := check(ctx, registry); err != nil {
			return d.found, err
		}
	}
	return d.found, nil
}

type doctor struct {
	c     *Client
	fix   bool
	role  brokerconfig.Role
	found []Diagnosis
	alive int // workers

	noTargets bool
}

func (d *doctor) add(level, check, subject, message, advice string) {
	if level == LevelOK {
		advice = ""
	}
	d.found = append(d.found, Diagnosis{Check: check, Level: level, Subject: subject, Message: message, Advice: advice})
}

// limited is what a role that is not the administrator's can look at.
func (d *doctor) limited(ctx context.Context) error {
	if d.role == brokerconfig.Worker {
		registry, err := d.c.Registry(ctx)
		if err != nil {
			return err
		}
		entries, err := registry.List(ctx)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Deleted.IsZero() {
				d.target(ctx, e.Config)
			}
		}
	}
	d.add(LevelOK, "rest", "", "streams, room, workers, circuits and dead letters were not looked at: they are for the role admin", "")
	return nil
}

// connection looks at the server.
func (d *doctor) connection() error {
	rtt, err := d.c.Conn.RTT()
	if err != nil {
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	d.add(LevelOK, "broker", "", fmt.Sprintf("NATS %s answers in %s", d.c.Conn.ConnectedServerVersion(), rtt.Round(time.Microsecond)), "")
	return nil
}

// clock compares the server's clock with this machine's.
func (d *doctor) clock(ctx context.Context) error {
	asked := time.Now()
	stream, err := d.c.JS.Stream(ctx, wire.OutcomeStream(d.c.Names))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil // the next check says so
	}
	if err != nil {
		return err
	}
	took := time.Since(asked)
	off := stream.CachedInfo().TimeStamp.Sub(asked.Add(took / 2)).Abs()
	level := LevelOK
	if off > doctorClock+took {
		level = LevelWarning
	}
	d.add(level, "clock", "", fmt.Sprintf("the clocks of this machine and of the broker differ by %s", off.Round(time.Millisecond)),
		"let both follow the same time service: signatures and times in answers depend on it")
	return nil
}

func (d *doctor) drift(check string, drift []channels.Drift, advice string) {
	if len(drift) == 0 {
		d.add(LevelOK, check, "", "are as they should be", "")
	}
	for _, x := range drift {
		if x.Missing {
			d.add(LevelProblem, check, x.Stream, "is missing", "at a new broker run 'extsync channels apply'; where it was there before, 'extsync doctor --fix' makes it again, empty: "+x.Lost)
			continue
		}
		for _, field := range x.Fields {
			d.add(LevelWarning, check, x.Stream, field, advice)
		}
	}
}

func (d *doctor) workers(ctx context.Context, _ *channels.Registry) error {
	crew, err := workers.Read(ctx, d.c.JS, d.c.Names)
	if err != nil {
		return err
	}
	for _, b := range crew.Beats {
		switch {
		case b.Bad != nil:
			d.add(LevelWarning, "workers", b.Worker, b.Bad.Error(), "if that worker is of another version, bring all to the same one")
		case !b.Alive:
			d.add(LevelOK, "workers", b.Worker, fmt.Sprintf("is gone: its last beat is %s old", b.Age.Round(time.Second)), "")
		}
	}
	if d.alive = crew.Alive(); d.alive > 0 {
		d.add(LevelOK, "workers", "", fmt.Sprintf("%d alive", d.alive), "")
		return nil
	}
	d.add(LevelProblem, "workers", "", "no connector-worker is alive", "start one: 'connector-worker run'")
	return nil
}

// channels looks at what holds every channel back, and tries its target from here.
func (d *doctor) channels(ctx context.Context, registry *channels.Registry) error {
	status, err := d.c.SettledStatus(ctx, "")
	if err != nil {
		return err
	}
	for i := range status.Channels {
		s := &status.Channels[i]
		e, err := registry.Get(ctx, s.Channel)
		if err != nil {
			return err
		}
		if s.State == standing.Deleted {
			continue
		}
		if s.LedgerBytes != nil && s.LedgerQuota > 0 {
			d.fill("the part of channel "+s.Channel+" in the ledger", *s.LedgerBytes, s.LedgerQuota, "raise quota.ledger of the channel and apply it; at its end nothing more is delivered")
		}
		for j := range s.Reasons {
			d.reason(e.Config, &s.Reasons[j])
		}
		if !s.Restored.IsZero() {
			d.add(LevelProblem, "restored", s.Channel, "the broker holds older files than before, found at "+s.Restored.Format(time.RFC3339),
				"stop workers and publishers, run 'extsync recover' and do what it says")
		}
		d.target(ctx, e.Config)
	}
	return nil
}

// reason says why partitions of a channel do not move. That somebody has paused a
// channel is as it should be.
func (d *doctor) reason(cfg channels.Config, f *standing.Finding) {
	level := LevelOK
	switch {
	case f.Code == why.NoWorker && f.Undelivered == 0 && d.alive == 0:
		return // that there is no worker was said
	case f.Alarm || f.Code.Blocks() || f.Code == why.CircuitOpen:
		level = LevelProblem
	case f.Code.Alarming() || f.Code == why.Changing:
		level = LevelWarning
	}
	d.add(level, "deliveries", cfg.Name, f.String(), adviceFor(cfg, f))
}

// adviceFor says what to do about a reason: also which secrets only a restart reads
// again, and that nobody has to wait for the next probe.
func adviceFor(cfg channels.Config, f *standing.Finding) string {
	advice := f.Advice
	if f.Code.Blocks() {
		if hint := connectors.RestartHint(cfg.Connector.Config); hint != "" {
			advice += ", but " + hint
		}
	}
	if f.Code.Probed() {
		advice += "; 'extsync channels probe " + cfg.Name + "' tries at once"
	}
	return advice
}

package operate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/contents"
	"github.com/hms-utl/extsync/internal/redact"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/transform"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// DryOutcome is what a draft makes of an update, beside what the present configuration does.
type DryOutcome string

// The outcomes.
const (
	DrySame     DryOutcome = "same"
	DryChanged  DryOutcome = "changed"
	DryFiltered DryOutcome = "filtered_now" // it was sent
	DryPasses   DryOutcome = "passes_now"   // it was not sent
	DryFails    DryOutcome = "fails"
	DryFailsToo DryOutcome = "fails_too"
)

// A DryRun is what a draft of a channel's configuration would make of the last updates.
type DryRun struct {
	Looked   int         `json:"looked" doc:"Updates that were looked at, the newest of the channel's stream"`
	Outcomes []DryCount  `json:"outcomes" doc:"All there are, also those with count 0; they add up to looked"`
	Samples  []DrySample `json:"samples" doc:"Those that differ first"`
	Contents bool        `json:"contents" doc:"The samples show contents, which the audit log has"`
	Change   Change      `json:"change" doc:"As PUT with dry_run answers it"`
}

// A DryCount counts an outcome.
type DryCount struct {
	Outcome DryOutcome `json:"outcome" enum:"same,changed,filtered_now,passes_now,fails,fails_too"`
	Count   int        `json:"count"`
}

// A DrySample is one update under both configurations.
type DrySample struct {
	Key     string             `json:"key"`
	Version versioning.Version `json:"version"`
	Outcome DryOutcome         `json:"outcome" enum:"same,changed,filtered_now,passes_now,fails,fails_too"`
	Now     json.RawMessage    `json:"now,omitempty" doc:"What is sent of it"`
	Draft   json.RawMessage    `json:"draft,omitempty" doc:"What would be sent of it"`
	Error   string             `json:"error,omitempty" doc:"Why the draft fails; nothing of the content"`
}

const (
	dryUpdates = 200
	drySamples = 20
	dryBytes   = 16 << 20 // of payloads, at once
	dryTime    = 10 * time.Second
)

// ErrDryRun says that a draft could not be run over the last updates.
var ErrDryRun = errors.New("the draft was not run")

// DryRun runs a draft, which is valid, and the present configuration of its channel over the
// last updates of the channel's stream. Nothing is sent. It is recorded: a filter can ask what
// is in a field that nobody sees. Contents are shown, and that look is recorded too, if with is
// set.
func (c *Client) DryRun(ctx context.Context, draft channels.Config, with bool) (out DryRun, err error) {
	act := auditlog.Act{Action: "channel.dry_run", Target: "channel " + draft.Name, After: draft}
	err = c.Act(ctx, act, func(ctx context.Context) (any, error) {
		out, err = c.runDraft(ctx, draft, with)
		return nil, err
	})
	return out, err
}

func (c *Client) runDraft(ctx context.Context, draft channels.Config, with bool) (DryRun, error) {
	out := DryRun{Samples: []DrySample{}, Outcomes: []DryCount{}, Contents: with}
	var err error
	if out.Change, err = c.Put(ctx, draft, true, func(uint64) error { return nil }); err != nil {
		return out, err
	}
	present, err := c.channels(ctx, draft.Name)
	if errors.Is(err, channels.ErrNotFound) {
		present, err = nil, nil
	}
	if err != nil {
		return out, err
	}
	d := draftRun{draft: draft, paths: draft.Redact, room: c.room() / (4 * drySamples), counts: map[DryOutcome]int{}}
	if d.after, err = transform.New(draft.Transform()); err != nil {
		return out, err
	}
	from := draft
	if len(present) > 0 {
		from = present[0].Config
		d.paths = append(slices.Clone(d.paths), from.Redact...)
		if d.before, err = transform.New(from.Transform()); err != nil {
			return out, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, dryTime)
	defer cancel()
	look := func(ctx context.Context) error { return d.run(ctx, c, from) }
	if with {
		act := auditlog.Act{Action: "payload.read", Target: "channel " + draft.Name, After: map[string]string{"why": "dry run of a draft"}}
		err = c.Act(ctx, act, func(ctx context.Context) (any, error) { return nil, look(ctx) })
	} else {
		err = look(ctx)
	}
	if err != nil {
		return DryRun{}, err
	}
	for _, o := range []DryOutcome{DrySame, DryChanged, DryFiltered, DryPasses, DryFails, DryFailsToo} {
		out.Outcomes = append(out.Outcomes, DryCount{o, d.counts[o]})
		out.Looked += d.counts[o]
	}
	out.Samples = append(append(out.Samples, d.differ...), d.same...)
	out.Samples = out.Samples[:min(len(out.Samples), drySamples)]
	if !with {
		for i := range out.Samples {
			out.Samples[i].Now, out.Samples[i].Draft = nil, nil
		}
	}
	return out, nil
}

type draftRun struct {
	draft         channels.Config
	before, after *transform.Transform // before is nil for a channel that is new
	paths         []string
	room          int
	counts        map[DryOutcome]int
	differ, same  []DrySample
}

func (d *draftRun) run(ctx context.Context, c *Client, from channels.Config) error {
	last, err := c.lastUpdates(ctx, from)
	if err != nil {
		return err
	}
	for _, msg := range last {
		u, err := wire.Decode(c.Names, msg.Subject, msg.Header, msg.Data)
		if err != nil || wire.IsReset(msg.Header) || !from.Takes(u.Key) {
			continue
		}
		u.Channel = d.draft.Name
		d.look(ctx, connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1})
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: the expressions take more than %s for the last updates", ErrDryRun, dryTime)
		}
	}
	return nil
}

// look does with an update what both configurations do.
func (d *draftRun) look(ctx context.Context, a connectors.Attempt) {
	s := DrySample{Key: a.Key, Version: a.Version}
	var now connectors.Attempt
	var sent bool
	var was connectors.Result
	if d.before != nil {
		now, sent, was = d.before.Apply(ctx, a)
	}
	next, sends, res := d.after.Apply(ctx, a)
	switch {
	case res.Err != nil && was.Err != nil:
		s.Outcome, s.Error = DryFailsToo, res.Err.Error()
	case res.Err != nil:
		s.Outcome, s.Error = DryFails, res.Err.Error()
	case sent && !sends:
		s.Outcome = DryFiltered
	case !sent && sends:
		s.Outcome = DryPasses
	case sends && (now.ContentType != next.ContentType || !bytes.Equal(now.Payload, next.Payload)):
		s.Outcome = DryChanged
	default:
		s.Outcome = DrySame
	}
	d.counts[s.Outcome]++
	into := &d.differ
	if s.Outcome == DrySame {
		into = &d.same
	}
	if len(*into) == drySamples {
		return
	}
	// A draft may move a hidden field to wherever it likes: people see what becomes of the
	// update without it.
	shown := a
	var hidden []string
	if shown.Payload, hidden = redact.Apply(a.Payload, d.paths); shown.Payload != nil || len(hidden) == 0 {
		if d.before != nil && sent {
			s.Now = d.show(ctx, d.before, shown)
		}
		if sends {
			s.Draft = d.show(ctx, d.after, shown)
		}
	}
	*into = append(*into, s)
}

func (d *draftRun) show(ctx context.Context, t *transform.Transform, a connectors.Attempt) json.RawMessage {
	out, send, _ := t.Apply(ctx, a)
	if !send || len(out.Payload) == 0 {
		return nil
	}
	part := connectors.JSONOf(out.Payload)
	if events.IsJSON(out.ContentType) {
		part = contents.Redact("", part, d.paths)
	}
	shown, _ := contents.Clip(part, d.room)
	return shown
}

// lastUpdates returns the newest messages of a channel's stream, the oldest first.
func (c *Client) lastUpdates(ctx context.Context, cfg channels.Config) (out []*jetstream.RawStreamMsg, err error) {
	stream, err := c.JS.Stream(ctx, wire.UpdateStream(c.Names, cfg.Route()))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil // of a channel that is new
	}
	if err != nil {
		return nil, err
	}
	state := stream.CachedInfo().State
	first, until, size := max(state.FirstSeq, 1), state.LastSeq, 0
	for span := uint64(dryUpdates); until >= first && len(out) < dryUpdates && size < dryBytes; span *= 2 {
		from := first
		if until-first >= span {
			from = until - span + 1
		}
		var part []*jetstream.RawStreamMsg
		q := wire.StreamQuery{Stream: wire.UpdateStream(c.Names, cfg.Route()), Subject: wire.StoredUpdates(c.Names, cfg.Route()), From: from, Until: until}
		for msg, err := range wire.ReadStream(ctx, c.JS, q) {
			if err != nil {
				return nil, err
			}
			part = append(part, msg)
			size += len(msg.Data)
			for len(part) > 1 && (len(part) > dryUpdates || size > dryBytes) {
				size -= len(part[0].Data)
				part = part[1:]
			}
		}
		out = append(part, out...)
		until = from - 1
	}
	return out[max(0, len(out)-dryUpdates):], nil
}

package operate

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

// How letters and keys of a job end.
const (
	outDelivered  = "delivered"
	outSuperseded = "superseded"
	outUnderWay   = "under_way"
	outMalformed  = "malformed"
	outBusy       = "busy"
	outPending    = "pending"
	outPaused     = "paused"
	outNoWorker   = "no_worker"
	outNoChannel  = "channel_deleted"
	outFailed     = "failed"
	outGone       = "gone"
	outDiscarded  = "discarded"
	outSkipped    = "skipped"
	outUnknown    = "not_looked_at"
)

// planTexts say for people what would become of letters and keys.
func planTexts() map[string]string {
	return map[string]string{
		outDelivered:  "would be sent to the target now",
		outSuperseded: "would not be sent: a newer version of the key is there",
		outMalformed:  "cannot be sent: they hold no update that can be read",
		outBusy:       "would not be sent: a newer update of the key is on its way",
		outPending:    "would be left alone: their update is still on its way",
		outPaused:     "would not be sent: their channel is paused",
		outNoWorker:   "would not be sent: no worker works on them",
		outNoChannel:  "would not be sent: their channel is deleted",
		outFailed:     "would fail: the target holds their version with other content",
		outDiscarded:  "would be given up for good",
		outUnknown:    "at most were not looked at, in so short a time",
	}
}

// planTime is for how long a plan looks at letters.
const planTime = 20 * time.Second

// leaderSkew is by how much the clocks of the broker's servers may differ.
const leaderSkew = time.Minute

// A tally counts outcomes.
type tally struct {
	counts map[string]int
	exact  bool
	note   string
}

func (t *tally) plan(action jobs.Action) Plan {
	out := Plan{Outcomes: []PlanOutcome{}, At: time.Now().UTC().Truncate(time.Millisecond), Exact: t.exact, Note: t.note}
	texts := planTexts()
	if action == jobs.Resync {
		texts[outDelivered] = "would have their current version delivered again"
	}
	for word, n := range t.counts {
		out.Total += n
		out.Outcomes = append(out.Outcomes, PlanOutcome{Outcome: word, Count: n, Text: texts[word]})
	}
	slices.SortFunc(out.Outcomes, func(a, b PlanOutcome) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Outcome, b.Outcome))
	})
	return out
}

// planNote says why nothing of what a plan says happens for now; "" if it does.
func planNote(e channels.Entry, health why.Health) string {
	switch {
	case e.Paused():
		return "the channel is paused: nothing is delivered until it is resumed"
	case health == why.HealthBlocked:
		return "the channel is blocked: nothing is delivered until what blocks it is mended"
	case health == why.HealthDown:
		return "the target of the channel does not answer: nothing is delivered until it does"
	default:
		return ""
	}
}

// planLetters looks at each letter that a filter selects as a job would find it.
func (c *Client) planLetters(ctx context.Context, action jobs.Action, l *jobs.Letters, rec *jobs.Record) (tally, error) {
	out := tally{counts: map[string]int{}, exact: true}
	store, err := c.manyLetters(ctx)
	if err != nil {
		return out, err
	}
	if rec.Upto, err = store.End(ctx); err != nil {
		return out, err
	}
	// The clocks of the stream's leaders differ: a letter before the end may have a later time.
	rec.Upto.Stored = rec.Upto.Stored.Add(leaderSkew)
	f := letterFilter(l)
	f.Upto = rec.Upto
	p := planner{c: c, of: l.Channel, known: map[string]*planned{}}
	began := time.Now()
	for batch, err := range store.Batches(ctx, f, 0) {
		if err != nil {
			return out, err
		}
		words, err := p.judge(ctx, action, batch)
		if err != nil {
			return out, err
		}
		for _, word := range words {
			out.counts[word]++
		}
		if time.Since(began) > planTime {
			left, err := store.Left(ctx, f, batch.Last+1)
			if err != nil {
				return out, err
			}
			if left > 0 {
				out.counts[outUnknown], out.exact, rec.AtMost = left, false, true
			}
			break
		}
	}
	if k := p.known[l.Channel]; k != nil && !k.gone && action == jobs.Replay {
		out.note = planNote(k.entry, k.health)
	}
	if len(out.counts) == 0 && l.Channel != "" { // a name that is misspelt has no letters either
		_, err = c.channels(ctx, l.Channel)
	}
	return out, err
}

// A planner says what would become of letters.
type planner struct {
	c     *Client
	of    string // the channel of the job; "" for all
	crew  *workers.Crew
	known map[string]*planned
}

// planned is what is known of a channel.
type planned struct {
	entry   channels.Entry
	gone    bool
	health  why.Health
	waits   bool   // it has updates without an outcome
	workers []bool // which partitions have one
}

func (p *planner) judge(ctx context.Context, action jobs.Action, b deadletters.Batch) ([]string, error) {
	out := make([]string, len(b.Entries))
	var unsure []int
	for i := range b.Entries {
		e := &b.Entries[i]
		if action == jobs.Discard {
			out[i] = outDiscarded
			if e.State == deadletters.StatePending {
				out[i] = outPending
			}
			continue
		}
		k, err := p.channel(ctx, e.Channel)
		if err != nil {
			return nil, err
		}
		out[i] = p.word(k, e, &b.Records[i])
		if out[i] == outDelivered && k.waits {
			unsure = append(unsure, i)
		}
	}
	return out, p.busy(ctx, b, unsure, out)
}

// word says what a worker would do, if nothing else of the key is on its way.
func (p *planner) word(k *planned, e *deadletters.Entry, rec *wire.Record) string {
	if e.Malformed != "" {
		return outMalformed
	}
	if k.gone {
		return outNoChannel
	}
	against := rec.Applied.Version
	if order, err := against.Compare(rec.Settled.Version); k.entry.Config.Mode == channels.Latest && (against.IsZero() || err == nil && order < 0) {
		against = rec.Settled.Version
	}
	order, err := e.Version.Compare(against)
	switch {
	case k.entry.Paused() && p.of == "":
		return outPaused
	case !k.entry.Paused() && !k.workers[wire.Partition(e.EncodedKey, len(k.workers))]: // of a paused one the job waits
		return outNoWorker
	case !against.IsZero() && err == nil && order < 0:
		return outSuperseded
	case rec.Applied.Version == e.Version: // it is open, so what the target holds is other content
		return outFailed
	default:
		return outDelivered
	}
}

func (p *planner) channel(ctx context.Context, name string) (*planned, error) {
	if k := p.known[name]; k != nil {
		return k, nil
	}
	k := &planned{}
	p.known[name] = k
	registry, err := p.c.Registry(ctx)
	if err != nil {
		return nil, err
	}
	k.entry, err = registry.Get(ctx, name)
	if errors.Is(err, channels.ErrNotFound) || errors.Is(err, events.ErrName) || err == nil && !k.entry.Deleted.IsZero() {
		k.gone = true
		return k, nil
	}
	if err != nil {
		return nil, err
	}
	if p.crew == nil {
		crew, err := workers.Read(ctx, p.c.JS, p.c.Names)
		if err != nil {
			return nil, err
		}
		p.crew = &crew
	}
	stands, err := standing.Looker{JS: p.c.JS, Names: p.c.Names, Registry: registry}.Channel(ctx, k.entry, *p.crew)
	if err != nil {
		return nil, err
	}
	k.waits, k.health = stands.Undelivered > 0, stands.Health
	k.workers = make([]bool, max(k.entry.Config.Partitions, 1))
	for _, part := range stands.Partitions {
		k.workers[part.Partition] = part.Worker != ""
	}
	return k, nil
}

// busy finds those whose key has a newer update without an outcome.
func (p *planner) busy(ctx context.Context, b deadletters.Batch, unsure []int, out []string) error {
	streams := map[string][]int{}
	for _, i := range unsure {
		name := wire.UpdateStream(p.c.Names, p.known[b.Entries[i].Channel].entry.Config.Route())
		streams[name] = append(streams[name], i)
	}
	for stream, of := range streams {
		subjects := make([]string, len(of))
		for n, i := range of {
			subjects[n] = wire.StoredUpdate(p.c.Names, p.known[b.Entries[i].Channel].entry.Config.Route(), b.Entries[i].EncodedKey)
		}
		found, err := wire.ReadLastFromLeader(ctx, p.c.JS, stream, subjects)
		if err != nil {
			return err
		}
		for n, i := range of {
			if found[n] != nil && waits(found[n], &b.Records[i]) {
				out[i] = outBusy
			}
		}
	}
	return nil
}

// waits reports whether a key's last message in its stream has no outcome.
func waits(msg *jetstream.RawStreamMsg, rec *wire.Record) bool {
	version, err := versioning.Parse(msg.Header.Get(events.HeaderVersion))
	if err != nil {
		return false
	}
	_, settled := rec.OutcomeOf(versioning.Tag{Version: version})
	return !settled
}

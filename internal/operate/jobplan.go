package operate

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/why"
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
	if action == jobs.Replay {
		out.note = p.note()
	}
	if len(out.counts) == 0 && l.Channel != "" { // a name that is misspelt has no letters either
		_, err = c.channels(ctx, l.Channel)
	}
	return out, err
}

// Package jobs keeps long work on an installation at the broker: a job is a record there, and
// whoever runs it holds a lease on that record. When its runner is killed, another one goes on
// where the record stands (docs/adr/0064).
package jobs

import (
	"errors"
	"slices"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/why"
)

// Errors of this package.
var (
	// ErrNotFound says that there is no such job, or not any more.
	ErrNotFound = errors.New("there is no such job")
	// ErrOver says that a job has ended.
	ErrOver = errors.New("the job has ended")
	// ErrInvalid says that a job makes no sense.
	ErrInvalid = errors.New("invalid job")
	// ErrCursor says that a cursor is of no page of the list.
	ErrCursor = errors.New("it is not the cursor of a page of the jobs")
	// ErrLost says that a runner no longer holds its job.
	ErrLost = errors.New("somebody else runs the job now")
)

// An Action is what a job does.
type Action string

// The actions.
const (
	Replay  Action = "replay"  // of dead letters: have the workers send their updates again
	Discard Action = "discard" // of dead letters: give them up for good
	Resync  Action = "resync"  // of keys: deliver their current versions again
)

// A State says whether a job goes on.
type State string

// The states.
const (
	Running  State = "running"
	Stopping State = "stopping" // somebody has asked it to stop; it ends after what is in hand
	Stopped  State = "stopped"
	Done     State = "done"
	Failed   State = "failed"
)

// Over reports whether it has ended.
func (s State) Over() bool { return s != Running && s != Stopping }

// Letters select dead letters.
type Letters struct {
	Channel string    `json:"channel,omitempty"`
	Key     string    `json:"key,omitempty" doc:"Needs channel"`
	Prefix  string    `json:"prefix,omitempty" doc:"The key begins with it"`
	Outcome string    `json:"outcome,omitempty" enum:"dead_lettered,conflict"`
	Class   string    `json:"class,omitempty"`
	Code    string    `json:"code,omitempty"`
	Group   string    `json:"group,omitempty" doc:"See GET /v1/dead-letters/groups"`
	After   time.Time `json:"after,omitzero" doc:"Stored then or later"`
	Before  time.Time `json:"before,omitzero" doc:"Stored earlier"`
	State   string    `json:"state,omitempty" enum:"open,pending,resolved,any" doc:"Of discard; default: open"`
}

// Entities select keys of a channel.
type Entities struct {
	Channel   string       `json:"channel"`
	Prefix    string       `json:"prefix,omitempty" doc:"The key begins with it"`
	Sync      []why.Sync   `json:"sync,omitempty"`
	Health    []why.Health `json:"health,omitempty"`
	Why       []why.Code   `json:"why,omitempty"`
	OlderThan string       `json:"older_than,omitempty" doc:"It has been so for longer, such as 2h or 7d"`
	Keys      []string     `json:"keys,omitempty" maxItems:"1000" doc:"These keys; then nothing else but channel"`
}

// A Selection is what a job is about.
type Selection struct {
	Letters  *Letters  `json:"letters,omitempty"`
	Entities *Entities `json:"entities,omitempty"`
}

// Channel returns the channel that it names; "" for all.
func (s *Selection) Channel() string {
	switch {
	case s.Entities != nil:
		return s.Entities.Channel
	case s.Letters != nil:
		return s.Letters.Channel
	default:
		return ""
	}
}

// MaxFailures bounds Job.Failures.
const MaxFailures = 10

// A Job is what a job does and how far it is.
type Job struct {
	ID      string         `json:"id"`
	Action  Action         `json:"action" enum:"replay,discard,resync"`
	Channel string         `json:"channel" doc:"Empty: all channels"`
	State   State          `json:"state" enum:"running,stopping,stopped,done,failed"`
	Total   int            `json:"total" doc:"Letters or keys that were selected when it began; at most, where not all could be looked at then"`
	Done    int            `json:"done" doc:"The sum of outcomes"`
	Out     map[string]int `json:"outcomes" doc:"How many ended how"`
	// Failures are the first, as texts.
	Failures []string  `json:"failures" doc:"The first failures"`
	Waits    string    `json:"waits,omitempty" doc:"What it waits for"`
	Reason   string    `json:"reason,omitempty" doc:"Why it is done"`
	Actor    string    `json:"actor" doc:"Who has started it"`
	Created  time.Time `json:"created"`
	Updated  time.Time `json:"updated"`
	Ended    time.Time `json:"ended,omitzero"`
	Rate     float64   `json:"rate" doc:"Letters or keys a second, lately"`
	// SecondsLeft is nil where it is not known.
	SecondsLeft *float64  `json:"seconds_left" doc:"About; null where it is not known"`
	Selection   Selection `json:"selection"`
	Runner      string    `json:"runner" doc:"The machine that runs it; empty: nobody does yet"`
}

// An Item is a letter in hand: what it takes to tell what has become of it, when the runner
// that had it in hand was killed.
type Item struct {
	Letter  uint64 `json:"n"`
	Channel string `json:"c"`
	Key     string `json:"k"` // encoded
	Version string `json:"v,omitempty"`
}

// A Record is a job as the broker keeps it.
type Record struct {
	Format int `json:"f"`
	Job
	// Incarnation is the installation's when the job began. In another one the broker's files
	// were restored, and whether the job is still wanted is for a person to say.
	Incarnation wire.Incarnation `json:"incarnation"`
	// Holder is the lease: a random text of the runner's; "" if nobody has it.
	Holder string `json:"holder,omitempty"`

	// Cursor: everything up to this letter is counted or in hand. Upto is the last letter that
	// there was when the job began.
	Cursor uint64    `json:"cursor,omitempty"`
	Upto   wire.Mark `json:"upto,omitzero"`
	// AtMost: not all of Total are selected, so what is missing at the end was not resolved by others.
	AtMost bool   `json:"at_most,omitempty"`
	InHand []Item `json:"in_hand,omitempty"`

	// Page is the cursor of the list of keys, behind Keys. Before is the channel's last resync
	// when those were to begin, Resync the one that they are done by.
	Page   string   `json:"page,omitempty"`
	Keys   []string `json:"keys,omitempty"`
	Before string   `json:"before,omitempty"`
	Resync string   `json:"resync,omitempty"`
	// Counted is what of Resync is counted already.
	Counted map[string]int `json:"counted,omitempty"`
	Listed  bool           `json:"listed,omitempty"` // Keys are the last ones
	Ends    [2]uint64      `json:"ends,omitzero"`    // of the channel's stream and of the ledger, when the job began
}

// Count adds outcomes. A text, if it is not empty, is a failure.
func (r *Record) Count(outcome string, n int, failure string) {
	if n <= 0 {
		return
	}
	if r.Out == nil {
		r.Out = map[string]int{}
	}
	r.Out[outcome] += n
	r.Done += n
	if failure != "" && len(r.Failures) < MaxFailures && !slices.Contains(r.Failures, failure) {
		r.Failures = append(r.Failures, failure)
	}
}

// clone returns a copy that shares nothing that is changed in place.
func (r *Record) clone() Record {
	out := *r
	out.Out = map[string]int{}
	for k, n := range r.Out {
		out.Out[k] = n
	}
	out.Counted = map[string]int{}
	for k, n := range r.Counted {
		out.Counted[k] = n
	}
	out.Failures = append([]string{}, r.Failures...)
	out.InHand = slices.Clone(r.InHand)
	return out
}

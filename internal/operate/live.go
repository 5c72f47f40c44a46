package operate

import (
	"context"
	"slices"
	"time"

	"github.com/hms-utl/extsync/internal/auditlog"
)

// actsKept is how many of the newest acts a board keeps for those who follow.
const actsKept = 256

// LiveRows are the rows that have changed, at most MaxRows of them.
type LiveRows struct {
	At     time.Time `json:"at"`
	Rows   []Row     `json:"rows"`
	Gone   []string  `json:"gone" doc:"Channels that are there no more, or were deleted"`
	Totals *Totals   `json:"totals"`
}

// A LiveJob is a job for those who follow.
type LiveJob struct {
	ID string
	// Channels that it is about; only who sees all of them is told of it.
	Channels []string
	// Revision changes with the job.
	Revision uint64
	Job      any // as the API tells of it
}

// An act is one in the tail of the audit log, by where its record is stored.
type act struct {
	sequence uint64
	activity Activity
}

// A tail is the newest of the audit log.
type tail struct {
	begun bool
	last  uint64
	acts  []act
	open  map[string]uint64 // where acts begin that have not ended, by their ids
}

// read adds what was recorded since the last time. The returned slice is not changed any more.
func (t *tail) read(ctx context.Context, log *auditlog.Log) ([]act, error) {
	last, err := log.Last(ctx)
	if err != nil {
		return t.acts, err
	}
	if !t.begun || last < t.last { // it begins, or the log was made anew
		t.begun, t.last, t.acts, t.open = true, last, nil, map[string]uint64{}
	}
	if last == t.last {
		return t.acts, nil
	}
	if last > t.last+actsKept { // nobody has looked for long: what lies between may be no more
		t.last = last - actsKept
	}
	found, err := log.Since(ctx, t.last)
	acts := slices.Clone(t.acts)
	for i := range found {
		e := found[i]
		t.last = e.Sequence
		stored := e.Sequence
		switch begun, ok := t.open[e.ID]; {
		case e.Result == auditlog.Started:
			t.open[e.ID] = e.Sequence
		case ok:
			e.Sequence = begun // it names the act
			delete(t.open, e.ID)
		}
		acts = append(acts, act{stored, activityOf(&e)})
	}
	if len(t.open) > actsKept {
		clear(t.open) // of acts that were cut off
	}
	t.acts = acts[max(0, len(acts)-actsKept):]
	return t.acts, err
}

// A Follower is told what changes from snapshot to snapshot.
type Follower struct {
	Allows func(channel string) bool
	// Sees says whether to tell of what an act was done to.
	Sees func(target string) bool

	since time.Time
	prev  *Snapshot
	act   uint64
	jobs  map[string]uint64 // revisions, by the ids of jobs
}

// Begin has the follower hear of what has changed since a time, or, if it is zero, since the
// snapshot.
func (f *Follower) Begin(s *Snapshot, since time.Time) {
	if f.since = s.At; !since.IsZero() {
		f.since = since.Add(-boardTime) // a look of another instance may have begun before, and seen less
	}
	f.prev = s
	if n := len(s.acts); n > 0 {
		f.act = s.acts[n-1].sequence
	}
}

// Rows returns what has changed up to a snapshot, in portions.
func (f *Follower) Rows(s *Snapshot) []LiveRows {
	var rows []Row
	there := make(map[string]bool, len(s.spots))
	for i := range s.spots {
		spot := &s.spots[i]
		there[spot.row.Channel] = true
		if spot.changed.After(f.since) && f.Allows(spot.row.Channel) {
			rows = append(rows, spot.row)
		}
	}
	gone := []string{}
	for i := range f.prev.spots {
		if name := f.prev.spots[i].row.Channel; !there[name] && f.Allows(name) {
			gone = append(gone, name)
		}
	}
	f.prev, f.since = s, s.At
	if len(rows)+len(gone) == 0 {
		return nil
	}
	var out []LiveRows
	totals := s.Totals(f.Allows)
	for len(rows) > MaxRows {
		out = append(out, LiveRows{At: s.At, Rows: rows[:MaxRows], Gone: []string{}, Totals: totals})
		rows = rows[MaxRows:]
	}
	return append(out, LiveRows{At: s.At, Rows: append([]Row{}, rows...), Gone: gone, Totals: totals})
}

// Acts returns the acts that were recorded since the last time. One that has ended comes again.
func (f *Follower) Acts(s *Snapshot) []Activity {
	var out []Activity
	for i := range s.acts {
		a := &s.acts[i]
		if a.sequence > f.act && f.Sees(a.activity.Target) {
			out = append(out, a.activity)
		}
	}
	if n := len(s.acts); n > 0 {
		f.act = s.acts[n-1].sequence
	}
	return out
}

// Jobs returns the jobs that have changed since the last time.
func (f *Follower) Jobs(s *Snapshot) []any {
	var out []any
	next := make(map[string]uint64, len(s.jobs))
	for i := range s.jobs {
		j := &s.jobs[i]
		if slices.ContainsFunc(j.Channels, func(name string) bool { return !f.Allows(name) }) {
			continue
		}
		next[j.ID] = j.Revision
		if was, ok := f.jobs[j.ID]; !ok || was != j.Revision {
			out = append(out, j.Job)
		}
	}
	f.jobs = next
	return out
}

// Until returns until when the snapshot is good.
func (s *Snapshot) Until() time.Time { return s.At.Add(s.goodFor()) }

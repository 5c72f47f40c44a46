package relay

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A pass is one run of the query.
type pass struct {
	f      *Follower
	newest versioning.Version // of the rows so far
	held   map[string]bool    // pinned targets that are left alone
	left   map[string]bool    // targets of which something was not published
	there  map[string]bool
	batch  []passRow
	bytes  int64
}

type passRow struct {
	StateRow
	id, content uint64
}

// pass reads the query and publishes what is new. A pass that fails does not move the
// cursor.
func (f *Follower) pass(ctx context.Context) error {
	from, held := f.cursor.begin(f.holds.free)
	p := &pass{f: f, held: held, left: map[string]bool{}, there: map[string]bool{}}
	if from.IsZero() {
		f.bad.begin()
	}
	f.moved.Store(time.Now().UnixNano())
	defer f.moved.Store(0)
	for row, err := range f.o.Source.Rows(ctx, f.cursor.after(from), f.o.MaxPayload()) {
		if err != nil {
			return err
		}
		p.take(row)
		f.moved.Store(time.Now().UnixNano())
		if len(p.batch) < claimRows && p.bytes < claimBytes {
			continue
		}
		if err := p.flush(ctx); err != nil {
			return err
		}
	}
	if err := p.flush(ctx); err != nil {
		return err
	}
	if from.IsZero() {
		f.bad.end()
	}
	for _, target := range f.cursor.end(from, p.newest, held, p.left) {
		f.holds.went(target)
	}
	f.memory.forget(f.cursor.after(f.cursor.at))
	f.mu.Lock()
	f.there = p.there
	f.mu.Unlock()
	f.o.Observer.Stands(f.bad.standings())
	return nil
}

// take puts a row into the batch, if it is to be published now.
func (p *pass) take(row StateRow) {
	one := passRow{StateRow: row}
	one.id, one.content = p.f.memory.of(&one.StateRow)
	if row.Bad != nil {
		p.f.leaveOut(&one, row.Bad)
		return
	}
	p.there[row.Target] = true
	if older(p.newest, row.Update.Version) {
		p.newest = row.Update.Version
	}
	switch {
	case p.f.memory.has(one.id, one.content):
		p.f.bad.meet(one.id)
	case p.held[row.Target] || !p.f.holds.free(row.Target):
		p.left[row.Target] = true
	default:
		p.batch = append(p.batch, one)
		p.bytes += row.Size
	}
}

// flush publishes the batch, target by target. The error is the context's, or
// events.ErrIncarnation.
func (p *pass) flush(ctx context.Context) error {
	targets := map[string][]passRow{}
	for _, row := range p.batch {
		targets[row.Target] = append(targets[row.Target], row)
	}
	p.batch, p.bytes = p.batch[:0], 0
	for _, target := range slices.Sorted(maps.Keys(targets)) {
		if err := p.publish(ctx, target, targets[target]); err != nil {
			return err
		}
	}
	return nil
}

// publish publishes rows of a target, and notes what became of each.
func (p *pass) publish(ctx context.Context, target string, rows []passRow) error {
	updates := func(yield func(events.Update) bool) {
		for i := range rows {
			if !yield(rows[i].Update) {
				return
			}
		}
	}
	counts := map[Result]int{}
	var waits, busy error
	answered := 0
	for receipt, err := range p.f.o.Publisher.PublishAll(ctx, updates, inFlight) {
		if ctx.Err() != nil || answered == len(rows) {
			break
		}
		if errors.Is(err, events.ErrIncarnation) {
			return err
		}
		row := &rows[answered]
		answered++
		switch what := judge(receipt, err); {
		case what == "" && errors.Is(err, events.ErrBusy): // of this key alone; its turn comes again
			busy, p.left[target] = err, true
			continue
		case what == "":
			waits, p.left[target] = err, true
			continue
		case what == SetAside:
			p.f.leaveOut(row, err)
		default:
			p.f.bad.forget(row.id)
			counts[what]++
		}
		p.f.memory.add(row.id, done{row.content, row.Update.Version}, p.f.cursor.after(p.newest))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if answered < len(rows) { // who publishes takes no more when the target takes none
		p.left[target] = true
	}
	for what, n := range counts {
		p.f.o.Observer.Relayed(target, what, n)
	}
	if len(counts) > 0 {
		p.f.holds.went(target)
	} else if waits == nil {
		waits = busy
	}
	if waits != nil {
		p.f.holds.hold(target, waits)
	}
	return nil
}

// leaveOut notes a row that is no update. It is read again while it is within the overlap,
// and after the next start.
func (f *Follower) leaveOut(row *passRow, why error) {
	id := row.id
	if row.Update.Key == "" {
		id = row.content
	}
	text := clip("key "+row.Update.Key+", version "+row.Update.Version.String()+": "+why.Error(), 200)
	isNew, say := f.bad.add(id, row.content, row.Target, text)
	if isNew {
		f.o.Observer.Relayed(row.Target, SetAside, 1)
	}
	if say {
		f.o.Logger.Error().Str("target", row.Target).Str("key", clip(row.Update.Key, 200)).Stringer("version", row.Update.Version).Str("why", clip(why.Error(), noteLen)).
			Msg("a row of the query is no update, and is left out")
	}
}

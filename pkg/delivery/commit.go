package delivery

import (
	"context"
	"slices"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// groupEntries and groupBytes bound one record of the outcome log.
	groupEntries = 500
	groupBytes   = 256 << 10
	entryBytes   = 512 // of an entry besides its texts, roughly
)

// A commit is an entry on its way into the log.
type commit struct {
	key   *ledger.Key // the entry's
	entry events.Entry
	item  *item // what it settles; nil for a failed attempt
	lane  *lane // whose head it is; nil if it left its lane before
	// committed, if any, is called once the entry is in the log and the view.
	committed func()
}

// enqueueCommit queues an entry. The caller holds mu.
func (t *tenure) enqueueCommit(c commit) {
	if c.item != nil {
		t.unsettled++
	}
	t.view.Hold(c.key)
	t.pending = append(t.pending, c)
	signal(t.wakeCommit)
}

// commitLoop writes what is queued, one group at a time: what comes while one is
// on its way is the next. It ends with ctx, or when the partition turns out to be
// another worker's.
func (t *tenure) commitLoop(ctx context.Context) {
	for {
		commits := t.takeCommits()
		if len(commits) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-t.wakeCommit:
			case <-t.view.Room():
			}
			continue
		}
		err := t.commitGroup(ctx, commits)
		clear(t.taken) // what they refer to may go
		clear(t.entries)
		if err != nil {
			if ctx.Err() == nil {
				t.fail(err)
			}
			return
		}
	}
}

// commitGroup writes one group and lets everybody know (guarantee 1).
func (t *tenure) commitGroup(ctx context.Context, commits []commit) error {
	if err := t.loadAll(ctx, commits); err != nil {
		return err
	}
	commits, known := t.splitKnown(commits)
	if err := t.replyAll(ctx, appendEntries(nil, known)); err != nil {
		return err
	}
	t.finishKnown(known)
	if len(commits) == 0 {
		return nil
	}
	entries := appendEntries(t.entries[:0], commits)
	t.entries = entries
	at, err := t.outcomes.Append(ctx, entries)
	if err != nil {
		return err
	}
	if err := t.replyAll(ctx, entries); err != nil {
		return err
	}
	t.finishAll(commits, at)
	t.p.sight.progressed(commits)
	t.observeOutcomes(commits)
	return nil
}

// appendEntries appends the entries of commits to out.
func appendEntries(out []events.Entry, commits []commit) []events.Entry {
	for i := range commits {
		out = append(out, commits[i].entry)
	}
	return out
}

// splitKnown takes out the updates that were overtaken in their lane but have an
// outcome already: a former owner died before it could settle them. They keep
// that one (guarantee 3).
func (t *tenure) splitKnown(commits []commit) (left, known []commit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	left = commits[:0]
	for i := range commits {
		c := &commits[i]
		if c.item != nil && c.lane == nil && ledger.HasPlace(&c.entry) {
			found := false
			t.view.Read(c.key, func(rec *events.Record) {
				var s events.Settlement
				if s, found = rec.Find(c.item.tag); found {
					c.entry.Settlement = s
				} else if found = endedBefore(c.item, rec, t.b.incarnation); found {
					c.entry.ReplyTo = "" // the publisher was told, and we cannot say what
				}
			})
			if found {
				known = append(known, *c)
				continue
			}
		}
		left = append(left, *c)
	}
	return left, known
}

// finishKnown settles updates of which the log has the outcome, once their acks
// are out again.
func (t *tenure) finishKnown(known []commit) {
	if len(known) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range known {
		t.view.Unpin(c.key)
		t.unsettled--
		t.finish(c.item)
	}
	t.checkIdle()
}

// loadAll makes sure that the records which the entries change are in memory: a
// version that was overtaken in its lane comes here without ever having been
// judged.
func (t *tenure) loadAll(ctx context.Context, commits []commit) error {
	keys := make([]*ledger.Key, 0, len(commits))
	for i := range commits {
		if ledger.HasPlace(&commits[i].entry) {
			keys = append(keys, commits[i].key)
		}
	}
	for {
		err := t.view.Load(ctx, keys)
		if err == nil || !events.IsUnavailable(err) {
			return err
		}
		t.log.Warn().Err(err).Msg("read the ledger; nothing is settled without it")
		if !sleep.For(ctx, ledgerRetry) {
			return context.Cause(ctx)
		}
	}
}

// takeCommits returns what makes the next group. It is valid until the next call.
func (t *tenure) takeCommits() []commit {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.view.Overfull() { // Room tells when it no longer is
		return nil
	}
	size, n := 0, 0
	for n < len(t.pending) && n < groupEntries {
		e := &t.pending[n].entry
		size += entryBytes + len(e.Key) + len(e.ID) + len(e.Message) + len(e.Response) + len(e.ReplyTo)
		if n > 0 && size > groupBytes {
			break
		}
		n++
	}
	t.taken = append(t.taken[:0], t.pending[:n]...)
	t.pending = slices.Delete(t.pending, 0, n)
	return t.taken
}

package delivery

import (
	"context"
	"slices"
	"sync"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
)

const (
	// groupEntries and groupBytes bound one record of the outcome log.
	groupEntries = 500
	groupBytes   = 256 << 10
	entryBytes   = 512 // of an entry besides its texts, roughly
)

// A committer brings a tenure's entries into the log, in their order.
type committer struct {
	t    *tenure
	wake chan struct{}

	mu      sync.Mutex
	pending []lanes.Commit

	// Memory for the next group: its commits and its entries. Used by run only.
	taken   []lanes.Commit
	entries []wire.Entry
}

// add queues commits.
func (c *committer) add(commits []lanes.Commit) {
	if len(commits) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = append(c.pending, commits...)
	signal(c.wake)
}

// run writes what is queued, one group at a time: what comes while one is
// on its way is the next. It ends with ctx, or when the partition turns out to be
// another worker's.
func (c *committer) run(ctx context.Context) {
	for {
		commits := c.take()
		if len(commits) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-c.wake:
			case <-c.t.view.Room():
			}
			continue
		}
		err := c.group(ctx, commits)
		clear(c.taken) // what they refer to may go
		clear(c.entries)
		if err != nil {
			if ctx.Err() == nil {
				c.t.fail(err)
			}
			return
		}
	}
}

// take returns what makes the next group. It is valid until the next call.
func (c *committer) take() []lanes.Commit {
	if c.t.view.Overfull() { // Room tells when it no longer is
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	size, n := 0, 0
	for n < len(c.pending) && n < groupEntries {
		e := &c.pending[n].Entry
		size += entryBytes + len(e.Key) + len(e.ID) + len(e.Message) + len(e.Response) + len(e.ReplyTo) + e.Refs.Size()
		if n > 0 && size > groupBytes {
			break
		}
		n++
	}
	c.taken = append(c.taken[:0], c.pending[:n]...)
	c.pending = slices.Delete(c.pending, 0, n)
	return c.taken
}

// group writes one group and lets everybody know (guarantee 1).
func (c *committer) group(ctx context.Context, commits []lanes.Commit) error {
	t := c.t
	if err := c.loadAll(ctx, commits); err != nil {
		return err
	}
	commits, known := c.splitKnown(commits)
	if err := t.replies.send(ctx, appendEntries(nil, known)); err != nil {
		return err
	}
	t.letGo(known, 0) // the log has their outcomes already
	if len(commits) == 0 {
		return nil
	}
	for i := range commits {
		commits[i].Entry.Content = t.p.r.entry.Content // as the group's
	}
	entries := appendEntries(c.entries[:0], commits)
	c.entries = entries
	at, err := t.outcomes.Append(ctx, entries)
	if err != nil {
		return err
	}
	if err := t.replies.send(ctx, entries); err != nil {
		return err
	}
	c.finish(commits, at)
	t.p.sight.progressed(commits)
	t.p.observeOutcomes(commits)
	return nil
}

// loadAll makes sure that the records which the entries change are in memory: a
// version that was overtaken in its lane comes here without ever having been
// judged.
func (c *committer) loadAll(ctx context.Context, commits []lanes.Commit) error {
	keys := make([]*ledger.Key, 0, len(commits))
	for i := range commits {
		if ledger.HasPlace(&commits[i].Entry) {
			keys = append(keys, commits[i].Key)
		}
	}
	for {
		err := c.t.view.Load(ctx, keys)
		if err == nil || !wire.IsUnavailable(err) {
			return err
		}
		c.t.log.Warn().Err(err).Msg("read the ledger; nothing is settled without it")
		if !sleep.For(ctx, ledgerRetry) {
			return context.Cause(ctx)
		}
	}
}

// splitKnown takes out the updates that were overtaken in their lane but have an
// outcome already (guarantee 3).
func (c *committer) splitKnown(commits []lanes.Commit) (left, known []lanes.Commit) {
	left = commits[:0]
	for i := range commits {
		one, found := &commits[i], false
		if one.Item != nil && one.Lane == nil && ledger.HasPlace(&one.Entry) {
			c.t.view.Read(one.Key, func(rec *wire.Record) { found = c.t.lanes.Known(one, rec) })
		}
		if found {
			known = append(known, *one)
		} else {
			left = append(left, *one)
		}
	}
	return left, known
}

// appendEntries appends the entries of commits to out.
func appendEntries(out []wire.Entry, commits []lanes.Commit) []wire.Entry {
	for i := range commits {
		out = append(out, commits[i].Entry)
	}
	return out
}

// finish follows a group whose acks are out: the records, JetStream's acks, then the lanes
// go on. at is the place of the group in the log.
func (c *committer) finish(commits []lanes.Commit, at wire.LogPosition) {
	t := c.t
	t.view.Group(at, func(g ledger.Group) {
		for i := range commits {
			one := &commits[i]
			before := g.Apply(one.Key, &one.Entry)
			if rec, key := g.Record(one.Key), one.Key.Encoded(); one.Resolves(rec, before, t.letters.Knows(key)) {
				t.letters.Settled(key, rec)
			}
		}
	})
	t.letGo(commits, at.Seq)
	t.p.countOutcomes(commits)
	for i := range commits {
		if done := commits[i].Done; done != nil {
			done()
		}
	}
}

// letGo lets go of updates whose outcomes the log has, and whose acks are out: up to
// acked now, or, if that is 0, up to where they were.
func (t *tenure) letGo(commits []lanes.Commit, acked uint64) {
	if len(commits) == 0 {
		return
	}
	t.begin()
	defer t.end()
	t.acked = max(t.acked, acked)
	for i := range commits {
		t.lanes.Committed(&commits[i])
	}
}

package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/guardrace"
	"github.com/hms-utl/extsync/pkg/events"
)

// A Difference is how a target differs from the ledger in a key.
type Difference string

// The differences.
const (
	DiffMissing   Difference = "missing"   // the target does not have it
	DiffBehind    Difference = "behind"    // the target holds an older version
	DiffAhead     Difference = "ahead"     // the target holds a newer version
	DiffDifferent Difference = "different" // the same version with other content, or not comparable; see Finding.Changed
	DiffExtra     Difference = "extra"     // the target has a key that was never delivered
)

// A Finding is one key that differs.
type Finding struct {
	Key        string          `json:"key"`
	Difference Difference      `json:"difference"`
	Ledger     Copy            `json:"ledger,omitzero"`
	Target     connectors.Held `json:"-"`
	Holds      Copy            `json:"target,omitzero"`
	// Changed names the parts of the target's content, such as columns, that are not what was
	// delivered although version and digest are.
	Changed []string `json:"changed,omitempty"`
}

// An AuditSummary counts keys.
type AuditSummary struct {
	Channel   string `json:"channel"`
	Looked    int64  `json:"looked"` // keys of the ledger that were delivered
	Missing   int64  `json:"missing"`
	Behind    int64  `json:"behind"`
	Ahead     int64  `json:"ahead"`
	Different int64  `json:"different"`
	Extra     int64  `json:"extra"`
	// Compared says that the target's content was compared too, and not only versions.
	Compared bool `json:"compared"`
	// Listed says that the target could be asked for keys that are too many.
	Listed bool `json:"listed"`
}

// Differences returns how many keys differ.
func (s *AuditSummary) Differences() int64 {
	return s.Missing + s.Behind + s.Ahead + s.Different + s.Extra
}

const (
	auditPage = 500
	// auditPages is how many pages are compared side by side: while the target answers one,
	// the broker answers another.
	auditPages = 4
	// auditSuspects is how many keys that seem to differ are looked at again
	// together, auditSettle how long after they were seen: a delivery may have
	// been between the two reads, and the ledger follows it.
	auditSuspects = 5000
	auditSettle   = 1500 * time.Millisecond
	auditAtOnce   = 16
	// auditCatchUp bounds how long an audit waits for the ledger at its beginning: a
	// key that was delivered a moment ago is to be looked at too.
	auditCatchUp = 5 * time.Second
)

// Audit compares what a channel's target holds with what the ledger says was
// delivered, in pages, and calls found for each key that differs, progress after
// each page. Keys that are delivered meanwhile are no differences. It fails with
// ErrNotReadable if the connector cannot be read.
func (c *Client) Audit(ctx context.Context, channel string, found func(Finding) error, progress func(AuditSummary)) (AuditSummary, error) {
	sum := AuditSummary{Channel: channel}
	entries, err := c.channels(ctx, channel)
	if err != nil {
		return sum, err
	}
	target, done, err := c.OpenTarget(ctx, entries[0].Config)
	if err != nil {
		return sum, err
	}
	defer done()
	if !target.Can().Reads {
		return sum, fmt.Errorf("%w: channel %s has a connector of kind %s", ErrNotReadable, channel, entries[0].Config.Connector.Kind)
	}
	records, err := c.Records(ctx)
	if err != nil {
		return sum, err
	}
	if err := records.CatchUp(ctx, entries[0], auditCatchUp); err != nil {
		return sum, err
	}
	a := &auditor{c: c, entry: entries[0], target: target, records: records, known: newKeySet(), found: found, progress: progress, sum: sum}
	if a.content, err = c.contentOf(ctx, entries[0], target); err != nil {
		return sum, err
	}
	a.sum.Compared = a.content != nil
	err = a.ledger(ctx)
	if target.Can().Lists && err == nil {
		a.sum.Listed = true
		err = a.extra(ctx)
	}
	return a.sum, err
}

type auditor struct {
	c        *Client
	entry    channels.Entry
	target   *connectors.Opened
	content  *content // nil where it cannot be compared
	records  *Records
	progress func(AuditSummary)

	mu       sync.Mutex // guards what follows, and calls to found and progress
	known    keySet     // the keys of the ledger that were delivered
	found    func(Finding) error
	sum      AuditSummary
	suspects []string
}

// ledger goes through the ledger's records of the channel in the order of the
// bucket, in pages.
func (a *auditor) ledger(ctx context.Context) error {
	group, pagesCtx := errgroup.WithContext(ctx)
	group.SetLimit(auditPages)
	err := a.pages(pagesCtx, func(page [][]byte) {
		group.Go(func() error { return a.page(pagesCtx, page) })
	})
	if failed := group.Wait(); failed != nil { // it has ended the reading
		return failed
	}
	if err != nil {
		return err
	}
	return a.lookAgain(ctx)
}

// pages gives the records of the channel as they are stored, in parts.
func (a *auditor) pages(ctx context.Context, each func([][]byte)) error {
	names := a.c.Names
	query := wire.StreamQuery{
		Stream:  wire.KVStream(wire.LedgerBucket(names)),
		Subject: wire.LedgerRecords(names, a.entry.Config.Name), Consumer: true, Batch: auditPage,
	}
	var page [][]byte
	for msg, err := range wire.ReadStream(ctx, a.c.JS, query) {
		if err != nil {
			return err
		}
		if len(msg.Data) == 0 { // the mark of a deleted record
			continue
		}
		if page = append(page, msg.Data); len(page) == auditPage {
			each(page)
			page = nil
		}
	}
	if len(page) > 0 {
		each(page)
	}
	return nil
}

func (a *auditor) page(ctx context.Context, page [][]byte) error {
	there := make([]wire.Delivery, 0, len(page))
	for _, data := range page {
		d, err := wire.DecodeDelivery(data)
		if err != nil {
			return err
		}
		if !d.Applied.IsZero() && d.ChannelID == a.entry.ID { // else it is of a former channel of the name
			there = append(there, d)
		}
	}
	found, err := a.look(ctx, there)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range found {
		a.known.add(f.Key)
		if f.Difference != "" {
			a.suspects = append(a.suspects, f.Key)
		}
	}
	a.sum.Looked += int64(len(there))
	a.progress(a.sum)
	if len(a.suspects) >= auditSuspects {
		return a.lookAgain(ctx)
	}
	return nil
}

// look compares what the target holds with what was delivered. A key in which nothing
// differs has a Finding without a Difference.
func (a *auditor) look(ctx context.Context, delivered []wire.Delivery) ([]Finding, error) {
	found := make([]Finding, len(delivered))
	for i, d := range delivered {
		found[i] = Finding{Key: d.Key, Ledger: appliedCopy(d.Applied)}
	}
	unread := make([]int, len(found))
	for i := range unread {
		unread[i] = i
	}
	if a.content != nil {
		var err error
		if unread, err = a.content.compare(ctx, found); err != nil {
			return nil, err
		}
	}
	if len(unread) == 0 {
		return found, nil
	}
	keys := make([]string, len(unread))
	for i, at := range unread {
		keys[i] = found[at].Key
	}
	held, err := a.target.Read(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("read the target: %w", err)
	}
	for i, at := range unread {
		found[at].holds(held[i])
	}
	return found, nil
}

// holds notes what the target holds, and how it differs from what was delivered.
func (f *Finding) holds(held connectors.Held) {
	f.Target, f.Difference = held, differs(f.Ledger, held)
}

// lookAgain tells differences from deliveries that were under way. The caller holds mu, or
// is alone.
func (a *auditor) lookAgain(ctx context.Context) error {
	if len(a.suspects) == 0 {
		return nil
	}
	if !sleep.For(ctx, auditSettle) {
		return ctx.Err()
	}
	for from := 0; from < len(a.suspects); from += auditPage {
		keys := a.suspects[from:min(from+auditPage, len(a.suspects))]
		before, err := a.read(ctx, keys)
		if err != nil {
			return err
		}
		delivered := make([]wire.Delivery, len(keys))
		for i := range keys {
			delivered[i] = before[i].Delivery()
			delivered[i].Key = keys[i] // there may be no record any more
		}
		found, err := a.look(ctx, delivered)
		if err != nil {
			return err
		}
		after, err := a.read(ctx, keys)
		if err != nil {
			return err
		}
		for i, f := range found {
			if f.Difference == "" || before[i].Seq != after[i].Seq {
				continue
			}
			if err := a.report(f); err != nil {
				return err
			}
		}
	}
	a.suspects = a.suspects[:0]
	return nil
}

// read reads records side by side, up to the end of the log.
func (a *auditor) read(ctx context.Context, keys []string) ([]wire.Record, error) {
	out := make([]wire.Record, len(keys))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(auditAtOnce)
	for i, key := range keys {
		group.Go(func() error {
			rec, err := a.records.ledger.Get(ctx, a.entry.Config.Name, key)
			if err != nil && !errors.Is(err, events.ErrNoRecord) {
				return err
			}
			out[i] = rec
			return nil
		})
	}
	return out, group.Wait()
}

func (a *auditor) report(f Finding) error {
	f.Holds = Copy{Version: f.Target.Version, Digest: f.Target.Digest, Op: f.Target.Op}
	switch f.Difference {
	case DiffMissing:
		a.sum.Missing++
	case DiffBehind:
		a.sum.Behind++
	case DiffAhead:
		a.sum.Ahead++
	case DiffExtra:
		a.sum.Extra++
	default:
		a.sum.Different++
	}
	return a.found(f)
}

// extra goes through the target's keys and looks for those that were never
// delivered. A record may be behind a delivery: such a key is looked at again.
func (a *auditor) extra(ctx context.Context) error {
	a.known.sort()
	var suspects []string
	for after := ""; ; {
		keys, err := a.target.List(ctx, after, auditPage)
		if err != nil {
			return fmt.Errorf("list the target: %w", err)
		}
		for _, key := range keys {
			if !a.known.has(key) {
				suspects = append(suspects, key)
			}
			after = key
		}
		last := len(keys) < auditPage
		if len(suspects) >= auditSuspects || last && len(suspects) > 0 {
			if err := a.reportExtra(ctx, suspects); err != nil {
				return err
			}
			suspects = suspects[:0]
		}
		if last {
			return nil
		}
	}
}

// neverDelivered returns those of some keys that the ledger does not know as delivered.
func (a *auditor) neverDelivered(ctx context.Context, keys []string) ([]string, error) {
	records, err := a.read(ctx, keys)
	if err != nil {
		return nil, err
	}
	var out []string
	for i, key := range keys {
		if records[i].Applied.IsZero() && !strings.HasPrefix(key, guardrace.KeyPrefix) { // of a race, see 'channels test'
			out = append(out, key)
		}
	}
	return out, nil
}

func (a *auditor) reportExtra(ctx context.Context, suspects []string) error {
	if !sleep.For(ctx, auditSettle) {
		return ctx.Err()
	}
	for part := range slices.Chunk(suspects, auditPage) {
		extra, err := a.neverDelivered(ctx, part)
		if err != nil {
			return err
		}
		for _, key := range extra {
			if err := a.report(Finding{Key: key, Difference: DiffExtra}); err != nil {
				return err
			}
		}
	}
	return nil
}

// differs returns how the target's copy differs from what was delivered, "" if
// it does not. A target that keeps no digest is compared by version alone, and
// one that keeps nothing of a deleted key has what it should.
func differs(applied Copy, held connectors.Held) Difference {
	if held.Version.IsZero() {
		if applied.Op == events.Delete {
			return ""
		}
		return DiffMissing
	}
	order, err := held.Version.Compare(applied.Version)
	switch {
	case err != nil:
		return DiffDifferent
	case order < 0:
		return DiffBehind
	case order > 0:
		return DiffAhead
	case !held.Digest.IsZero() && held.Digest != applied.Digest:
		return DiffDifferent
	case held.Op != "" && applied.Op != "" && held.Op != applied.Op: // without a digest nothing else shows it
		return DiffDifferent
	default:
		return ""
	}
}

func appliedCopy(a wire.Applied) Copy {
	return Copy{Version: a.Version, Digest: a.Digest, Op: a.Op, At: a.At}
}

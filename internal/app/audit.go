package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/sleep"
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
	DiffDifferent Difference = "different" // the same version with other content, or not comparable
	DiffExtra     Difference = "extra"     // the target has a key that was never delivered
)

// A Finding is one key that differs.
type Finding struct {
	Key        string          `json:"key"`
	Difference Difference      `json:"difference"`
	Ledger     Copy            `json:"ledger,omitzero"`
	Target     connectors.Held `json:"-"`
	Holds      Copy            `json:"target,omitzero"`
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
	// Listed says that the target could be asked for keys that are too many.
	Listed bool `json:"listed"`
}

// Differences returns how many keys differ.
func (s *AuditSummary) Differences() int64 {
	return s.Missing + s.Behind + s.Ahead + s.Different + s.Extra
}

const (
	auditPage = 500
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
	a := auditor{c: c, entry: entries[0], target: target, records: records, found: found, progress: progress, sum: sum}
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
	records  *Records
	found    func(Finding) error
	progress func(AuditSummary)
	sum      AuditSummary
	suspects []string
}

// ledger goes through the ledger's records of the channel in the order of the
// bucket, in pages.
func (a *auditor) ledger(ctx context.Context) error {
	names := a.c.Names
	query := events.StreamQuery{
		Stream:  events.KVStream(names.LedgerBucket()),
		Subject: names.LedgerRecords(a.entry.Config.Name), Consumer: true,
	}
	page := make([]events.Record, 0, auditPage)
	for msg, err := range events.ReadStream(ctx, a.c.JS, query) {
		if err != nil {
			return err
		}
		if len(msg.Data) == 0 { // the mark of a deleted record
			continue
		}
		rec, err := events.DecodeRecord(msg.Data)
		if err != nil {
			return err
		}
		if rec.Applied.IsZero() || rec.ChannelID != a.entry.ID { // the latter is of a former channel of the name
			continue
		}
		if page = append(page, rec); len(page) == auditPage {
			if err := a.page(ctx, page); err != nil {
				return err
			}
			page = page[:0]
		}
	}
	if err := a.page(ctx, page); err != nil {
		return err
	}
	return a.lookAgain(ctx)
}

func (a *auditor) page(ctx context.Context, page []events.Record) error {
	if len(page) == 0 {
		return nil
	}
	keys := make([]string, len(page))
	for i := range page {
		keys[i] = page[i].Key
	}
	held, err := a.target.Read(ctx, keys)
	if err != nil {
		return fmt.Errorf("read the target: %w", err)
	}
	for i := range page {
		if differs(page[i].Applied, held[i]) != "" {
			a.suspects = append(a.suspects, keys[i])
		}
	}
	a.sum.Looked += int64(len(page))
	a.progress(a.sum)
	if len(a.suspects) >= auditSuspects {
		return a.lookAgain(ctx)
	}
	return nil
}

// lookAgain tells differences from deliveries that were under way.
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
		held, err := a.target.Read(ctx, keys)
		if err != nil {
			return fmt.Errorf("read the target: %w", err)
		}
		after, err := a.read(ctx, keys)
		if err != nil {
			return err
		}
		for i, key := range keys {
			d := differs(after[i].Applied, held[i])
			if d == "" || before[i].Seq != after[i].Seq {
				continue
			}
			if err := a.report(Finding{Key: key, Difference: d, Ledger: appliedCopy(after[i].Applied), Target: held[i]}); err != nil {
				return err
			}
		}
	}
	a.suspects = a.suspects[:0]
	return nil
}

// read reads records side by side, up to the end of the log.
func (a *auditor) read(ctx context.Context, keys []string) ([]events.Record, error) {
	out := make([]events.Record, len(keys))
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
	var suspects []string
	for after := ""; ; {
		keys, err := a.target.List(ctx, after, auditPage)
		if err != nil {
			return fmt.Errorf("list the target: %w", err)
		}
		if len(keys) > 0 {
			unknown, err := a.neverDelivered(ctx, keys)
			if err != nil {
				return err
			}
			suspects = append(suspects, unknown...)
			after = keys[len(keys)-1]
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
	extra, err := a.neverDelivered(ctx, suspects)
	if err != nil {
		return err
	}
	for _, key := range extra {
		if err := a.report(Finding{Key: key, Difference: DiffExtra}); err != nil {
			return err
		}
	}
	return nil
}

// differs returns how the target's copy differs from what was delivered, "" if
// it does not. A target that keeps no digest is compared by version alone, and
// one that keeps nothing of a deleted key has what it should.
func differs(applied events.Applied, held connectors.Held) Difference {
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

func appliedCopy(a events.Applied) Copy {
	return Copy{Version: a.Version, Digest: a.Digest, Op: a.Op, At: a.At}
}

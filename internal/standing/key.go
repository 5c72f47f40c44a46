package standing

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

// An Entity is how a key stands in a channel.
type Entity struct {
	Sync   why.Sync   `json:"sync" enum:"in_sync,filtered,waiting,behind,ahead,unknown" doc:"What the target holds, by the ledger and by what the target has answered; only an audit asks it"`
	Health why.Health `json:"health" enum:"ok,retrying,parked,dead,down,paused,blocked" doc:"Whether the newest version moves by itself"`
	// Why the target does not hold the newest version, or not as the channel makes it now; nil
	// if it does, the filter keeps it back, or nothing was ever published.
	Why *why.Reason `json:"why,omitempty"`
}

// Facts are what is known of a key.
type Facts struct {
	Entry channels.Entry
	// Head is the newest version in the channel's stream, which was stored at Published. Zero:
	// the stream has none of the key.
	Head      versioning.Tag
	Published time.Time
	// Malformed says why the newest message there cannot be read; nil: it can, or there is none.
	Malformed error
	Record    wire.Record // in the ledger; the zero Record: there is none
	// Held is why the key's partition does not move; nil: it does. It counts only if the newest
	// version has no outcome.
	Held *why.Reason
}

// Newest returns the newest version that was accepted, by the stream or the ledger; zero if
// there is none.
func (f *Facts) Newest() versioning.Tag {
	known := f.Record.Newest()
	if f.Head.IsZero() {
		return known
	}
	if c, err := f.Head.Version.Compare(known.Version); err == nil && c < 0 { // of a work queue
		return known
	}
	return f.Head
}

// Waits reports whether the newest version has no outcome yet, and so Held counts.
func (f *Facts) Waits() bool {
	if f.Malformed != nil {
		return false
	}
	newest := f.Newest()
	_, ended := f.Record.OutcomeOf(newest)
	return !newest.IsZero() && !ended
}

// JudgeKey says how a key stands. It asks nobody.
func JudgeKey(f Facts) Entity {
	k := f.judge()
	if k.Why != nil {
		told := *k.Why // it may be the partition's
		told.Advice = told.Code.Advice()
		k.Why = &told
	}
	return k
}

func (f *Facts) judge() Entity {
	switch {
	case f.Malformed != nil:
		return Entity{why.Unknown, why.HealthDead, &why.Reason{Code: why.Malformed, Message: "the newest message is no update: " + f.Malformed.Error(), Since: f.Published}}
	case f.Newest().IsZero():
		return Entity{Sync: why.Unknown, Health: why.HealthOK}
	case !f.Waits():
		s := why.OfRecord(&f.Record, f.Entry.Content)
		return Entity{s.Sync, s.Health, f.ended(s.Code)}
	}
	s := why.Standing{Sync: why.Waiting, Health: why.HealthOK, Code: why.Pending}
	if f.Record.State == wire.StateRetrying || f.Record.State == wire.StateParked {
		s = why.OfRecord(&f.Record, f.Entry.Content)
	}
	own := s.Code
	if f.Held != nil {
		s = s.Held(f.Held.Code)
	}
	if s.Code != own || f.Held != nil && f.Held.Code == own && own == why.RateLimited {
		return Entity{s.Sync, s.Health, f.Held}
	}
	return Entity{s.Sync, s.Health, f.waits(own)}
}

// ended tells why the newest version, which has an outcome, is not what the target holds.
func (f *Facts) ended(code why.Code) *why.Reason {
	r := &why.Reason{Code: code}
	s, _ := f.Record.Find(f.Record.Settled)
	switch code {
	case "":
		return nil
	case why.MappingChanged:
		r.Since = f.Entry.Remade
		if r.Message = "the target holds it as an older configuration of the channel has made it"; s.Code == events.CodeFiltered || s.Code == events.CodeRemoved {
			r.Message = "the filter of an older configuration of the channel kept it back"
		}
		return r
	case why.TargetNewer:
		r.Message = "the target has said that it holds a newer version"
		if !s.By.IsZero() {
			r.Message = "the target has said that it holds version " + s.By.String()
		}
	default:
		if r.Message = failureText(code, s.Failure()); r.Message == "" {
			r.Message = code.What()
		}
	}
	r.Since = s.At
	return r
}

// waits tells why the newest version has no outcome yet.
func (f *Facts) waits(code why.Code) *why.Reason {
	if code == why.Pending {
		return &why.Reason{Code: code, Message: code.What(), Since: f.Published}
	}
	r := &why.Reason{Code: code, Message: code.What(), Next: f.Record.NextAttempt}
	if text := failureText(code, f.Record.Error); text != "" {
		r.Message = text
	}
	switch n := f.Record.Attempts; {
	case n == 1:
		r.Message = "failed once, with " + r.Message
	case n > 1:
		r.Message = fmt.Sprintf("failed %d times, the last time with %s", n, r.Message)
	}
	return r
}

// failureText returns a failure in one line, "" if nothing is known of it. It leaves out a code
// that its reason says already.
func failureText(reason why.Code, f *events.Failure) string {
	if f == nil {
		return ""
	}
	message := strings.TrimPrefix(f.Message, f.Code+": ")
	switch {
	case f.Code == "" || message == f.Code || message != "" && f.Code == string(reason):
		return message
	case message == "":
		return f.Code
	default:
		return f.Code + ": " + message
	}
}

// Overtaken says why a version has no newest outcome that counts: it was superseded by a newer
// one, which stands as k says.
func (k Entity) Overtaken(version, newest versioning.Version) *why.Reason {
	r := &why.Reason{Code: why.Superseded, Message: fmt.Sprintf("version %s was overtaken by %s", version, newest), Advice: why.Superseded.Advice()}
	if k.Why != nil {
		r.Message += ", which has no outcome yet: " + string(k.Why.Code) + ": " + k.Why.Message
		r.Worker, r.Since, r.Next = k.Why.Worker, k.Why.Since, k.Why.Next
	}
	return r
}

// Held returns why the partition of a key does not move that has an update without an outcome,
// published at a time; nil: it does.
func (l Looker) Held(ctx context.Context, e channels.Entry, key string, published time.Time) (*why.Reason, error) {
	enc, err := events.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	if r := ofChannel(e); r != nil {
		return r, nil
	}
	crew, err := workers.Read(ctx, l.JS, l.Names)
	if err != nil {
		return nil, err
	}
	progress, err := channels.OpenProgress(ctx, l.JS, l.Names)
	if err != nil {
		return nil, err
	}
	p := wire.Partition(enc, e.Config.Partitions)
	b := channels.PartitionBacklog{Undelivered: 1, Oldest: published, Consumer: true}
	if b.Progress, b.Written, err = progress.ReadTime(ctx, e.Config.Name, e.Generation, p); err != nil {
		return nil, err
	}
	if held := judge(e, p, &b, crew).Why; held != nil || e.Config.From == nil {
		return held, nil
	}
	return filled(ctx, progress, e, p)
}

// filled says that a partition gets what the channel's topic had; nil if it does not.
func filled(ctx context.Context, progress *channels.ProgressStore, e channels.Entry, p int) (*why.Reason, error) {
	fill, err := progress.ReadResync(ctx, e.Config.Name)
	if errors.Is(err, channels.ErrNoResync) || err == nil && (!fill.Fill || !fill.Concerns(&e)) {
		return nil, nil //nolint:nilnil // it does not
	}
	if err != nil {
		return nil, err
	}
	at, err := progress.ReadResyncProgress(ctx, e.Config.Name, e.Generation, p)
	if err != nil || at.ID == fill.ID && at.Done {
		return nil, err
	}
	return &why.Reason{Code: why.Filling, Message: why.Filling.What(), Since: fill.Started}, nil
}

package delivery

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// deadRetry is how long an update waits when its dead letter could not be
// stored.
const deadRetry = 2 * time.Second

// storeDead puts the whole update, with why it was given up, where it can be
// looked at and sent again. It returns when the broker has it. The id is that of
// the update in its stream: storing twice leaves one.
func (t *tenure) storeDead(key string, it *item, e events.Entry) error {
	ctx, cancel := context.WithTimeout(t.ctx, 5*time.Second)
	defer cancel()
	name := t.p.r.entry.Config.Name
	if err := t.loadPayload(ctx, it); err != nil && !errors.Is(err, errParkedLost) {
		return err
	}
	headers, data := it.content()
	msg := nats.NewMsg(t.b.names.Dead(name, key))
	msg.Data, msg.Header = data, withoutBrokerHeaders(headers)
	set := func(header, value string) {
		if value != "" {
			msg.Header.Set(header, value)
		}
	}
	set(nats.MsgIdHdr, t.stream+":"+strconv.FormatUint(it.seq, 10))
	set(events.HeaderDeadOutcome, string(e.Outcome))
	set(events.HeaderDeadReason, e.Message)
	set(events.HeaderDeadClass, e.Class)
	set(events.HeaderDeadCode, e.Code)
	set(events.HeaderDeadAttempts, strconv.Itoa(e.Attempts))
	set(events.HeaderDeadFirst, formatTime(it.first))
	set(events.HeaderDeadLast, formatTime(e.At))
	set(events.HeaderDeadWorker, t.p.r.worker)
	set(events.HeaderDeadSequence, strconv.FormatUint(it.seq, 10))
	if _, err := t.b.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(2)); err != nil {
		return fmt.Errorf("dead letter: %w", err)
	}
	return nil
}

// purgeLetters removes the dead letters of keys of which a version at least as
// new was just delivered. The lanes are still busy, so no letter can be stored
// meanwhile. One that stays after all counts as resolved: the ledger decides.
func (t *tenure) purgeLetters(ctx context.Context, commits []commit) {
	for _, key := range t.keysWithLetters(commits) {
		subject := t.b.names.Dead(t.p.r.entry.Config.Name, key)
		if err := t.b.dead.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
			t.log.Warn().Err(err).Msg("remove the dead letters of a key that was delivered")
		}
	}
}

func (t *tenure) keysWithLetters(commits []commit) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var keys []string
	for _, c := range commits {
		if c.item == nil || c.entry.Outcome != events.Delivered {
			continue
		}
		rec := t.view.record(c.key)
		if isOlder(c.entry.Version, rec.Settled.Version) {
			continue // a letter of a newer version still counts
		}
		for _, s := range rec.Recent {
			if s.Outcome == events.DeadLettered || s.Outcome == events.Conflict {
				keys = append(keys, c.key)
				break
			}
		}
	}
	return keys
}

func formatTime(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339Nano)
}

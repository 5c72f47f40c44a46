// Package auditlog records who has changed what. Each administrative act has two
// records: one before it, without which it is not done, and one that says how it
// ended.
package auditlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// The results of an act. An act that has only Started was cut off, and may have
// been done or not.
const (
	Started = "started"
	Done    = "done"
	Failed  = "failed"
)

const (
	// maxValue bounds Before and After. A larger one is replaced by its size.
	maxValue = 128 << 10
	// maxReason bounds Reason, in bytes.
	maxReason = 1000
	// writeTimeout bounds each record.
	writeTimeout = 5 * time.Second
)

// A Record says what somebody has done. It holds no secret: configurations hold
// references, and tokens are recorded without their hashes.
type Record struct {
	Format int       `json:"f"`
	ID     string    `json:"id"`
	At     time.Time `json:"at"`
	Actor  string    `json:"actor"`            // "token 0a1b2c (portal)", "local", "command root"
	From   string    `json:"from,omitempty"`   // network address
	Action string    `json:"action"`           // "channel.put"
	Target string    `json:"target,omitempty"` // "channel erp"
	Result string    `json:"result"`
	Reason string    `json:"reason,omitempty"` // that whoever did it has given
	Error  string    `json:"error,omitempty"`

	// Revision is that of what was changed, afterwards; 0: it has none.
	Revision uint64 `json:"revision,omitempty"`

	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// Log is the audit log. It is safe for concurrent use.
type Log struct {
	js    jetstream.JetStream
	names events.Names
}

// Open returns the audit log of a broker.
func Open(js jetstream.JetStream, names events.Names) *Log { return &Log{js: js, names: names} }

// An Act is one thing that somebody wants to do.
type Act struct {
	Actor, From, Action, Target string
	// Reason is why it is done, in the words of whoever does it; "" if they have not said.
	Reason        string
	Before, After any
}

// Revised is what do returns to Do where what was changed has a revision.
type Revised struct {
	After    any // nil: Act.After
	Revision uint64
}

// Do records an act, does it, and records how it ended. What do returns is what
// there is afterwards (nil: Act.After). If the act cannot be recorded it is not
// done.
func (l *Log) Do(ctx context.Context, a Act, do func(context.Context) (after any, err error)) error {
	r := Record{
		Format: wire.Format, ID: uuid.NewString(), Actor: a.Actor, From: a.From, Action: a.Action, Target: a.Target,
		Result: Started, Reason: connectors.Clip(a.Reason, maxReason), Before: value(a.Before), After: value(a.After),
	}
	if err := l.write(ctx, r); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	after, err := do(ctx)
	r.Result = Done
	if revised, ok := after.(Revised); ok {
		r.Revision, after = revised.Revision, revised.After
	}
	if after != nil {
		r.After = value(after)
	}
	if err != nil {
		r.Result, r.Error = Failed, connectors.Clip(err.Error(), 500)
	}
	// The second record is written whether or not whoever asked is still there.
	if werr := l.write(context.WithoutCancel(ctx), r); werr != nil && err == nil {
		return fmt.Errorf("it is done, but the audit log says only that it was started: %w", werr)
	}
	return err
}

func (l *Log) write(ctx context.Context, r Record) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	r.At = time.Now().UTC()
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = l.js.Publish(ctx, wire.Audit(l.names, r.Action), data, jetstream.WithMsgID(r.ID+"/"+r.Result))
	switch {
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	case wire.IsUnavailable(err) && !errors.Is(err, events.ErrUnavailable):
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	return err
}

func value(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	data, err := json.Marshal(v)
	if err != nil || len(data) > maxValue {
		data, _ = json.Marshal(map[string]int{"bytes_left_out": len(data)}) // cannot fail
	}
	return data
}

// Read returns the acts since a time, oldest first: of each the last record that
// there is. At is when the act was begun.
func (l *Log) Read(ctx context.Context, since time.Time) ([]Record, error) {
	var out []Record
	index := map[string]int{}
	q := wire.StreamQuery{Stream: wire.AuditStream(l.names), Subject: wire.AuditSubjects(l.names), Since: since}
	for msg, err := range wire.ReadStream(ctx, l.js, q) {
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, fmt.Errorf("%w: stream %s is missing; apply the channels again", events.ErrNotProvisioned, wire.AuditStream(l.names))
		}
		if err != nil {
			return nil, err
		}
		var r Record
		if err := json.Unmarshal(msg.Data, &r); err != nil {
			return nil, fmt.Errorf("audit record %d: %w", msg.Sequence, err)
		}
		if i, ok := index[r.ID]; ok {
			r.At = out[i].At
			out[i] = r
			continue
		}
		index[r.ID] = len(out)
		out = append(out, r)
	}
	return out, nil
}

package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Whereabouts is where a key's newest update is in one channel.
type Whereabouts struct {
	Channel     string          `json:"channel"`
	Key         string          `json:"key"`
	State       string          `json:"state" doc:"An outcome, or absent, pending, retrying, parked or malformed"`
	Newest      *Copy           `json:"newest,omitempty" doc:"The newest version that was published"`
	Target      *Copy           `json:"target,omitempty" doc:"What the target holds"`
	Attempts    int             `json:"attempts,omitempty"`
	Error       *events.Failure `json:"error,omitempty" doc:"Why the last attempt failed"`
	NextAttempt time.Time       `json:"next_attempt,omitzero" doc:"Never before now; while the circuit is not closed, that of the channel's next probe"`
	Why         *Why            `json:"why,omitempty" doc:"What holds a version without an outcome back, and at which worker; not in lists"`
}

// A Copy is one version of a key at one place.
type Copy struct {
	Version versioning.Version `json:"version"`
	Digest  versioning.Digest  `json:"digest,omitzero"`
	Op      events.Op          `json:"op,omitempty"`
	At      time.Time          `json:"at,omitzero" doc:"When it was published, or delivered"`
}

// maxScan bounds the records that one page looks at: a page may be short, and
// even empty, and still have a next one.
const maxScan = 2000

type entityInput struct {
	Channel string `path:"channel" maxLength:"63"`
	Key     string `path:"key" maxLength:"1024"`
}

type entityOutput struct{ Body Whereabouts }

type everywhereInput struct {
	Key string `path:"key" maxLength:"1024"`
}

type everywhereOutput struct {
	Body struct {
		Key      string        `json:"key"`
		Channels []Whereabouts `json:"channels"`
	}
}

type listInput struct {
	Channel string `path:"channel" maxLength:"63"`
	State   string `query:"state" required:"true" enum:"behind,failing,conflict" doc:"behind: the target does not hold the newest version; failing: the newest update is retried, parked or given up; conflict: it ended as one"`
	Limit   int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Cursor  string `query:"cursor" maxLength:"40" doc:"Of the page before"`
}

type listOutput struct {
	Body struct {
		Entities []Whereabouts `json:"entities" doc:"May be empty although there is a next page. A key that changes meanwhile may come twice"`
		Next     string        `json:"next,omitempty" doc:"The cursor of the next page; none: this was the last"`
	}
}

func (s *server) lookupRoutes() {
	register(s, route{
		id: "get-entity", method: http.MethodGet, path: "/v1/channels/{channel}/entities/{key}", tag: "Entities",
		summary: "Where is my update?", rule: read, status: http.StatusOK,
	}, func(ctx context.Context, in *entityInput) (*entityOutput, error) {
		found, err := s.find(ctx, in.Channel, in.Key)
		return &entityOutput{Body: found}, err
	})
	register(s, route{
		id: "get-entity-everywhere", method: http.MethodGet, path: "/v1/entities/{key}", tag: "Entities",
		summary: "Where is my update, in every channel?", rule: read, status: http.StatusOK,
	}, s.everywhere)
	register(s, route{
		id: "list-entities", method: http.MethodGet, path: "/v1/channels/{channel}/entities", tag: "Entities",
		summary: "List the entities that are not well", rule: read, status: http.StatusOK,
	}, s.listEntities)
}

func (s *server) find(ctx context.Context, channel, key string) (Whereabouts, error) {
	if err := events.CheckChannel(channel); err != nil {
		return Whereabouts{}, fmt.Errorf("%w: %w", channels.ErrNotFound, err)
	}
	if _, err := events.EncodeKey(key); err != nil {
		return Whereabouts{}, invalid(FieldError{Location: "path.key", Message: err.Error()})
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return s.o.Find(ctx, channel, key)
}

const readTimeout = 20 * time.Second

func (s *server) everywhere(ctx context.Context, in *everywhereInput) (*everywhereOutput, error) {
	out := &everywhereOutput{}
	out.Body.Key, out.Body.Channels = in.Key, []Whereabouts{}
	entries, err := s.o.Registry.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !callerOf(ctx).allows(e.Config.Name) {
			continue
		}
		found, err := s.find(ctx, e.Config.Name, in.Key)
		if errors.Is(err, ErrUnknownKey) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out.Body.Channels = append(out.Body.Channels, found)
	}
	if len(out.Body.Channels) == 0 {
		return nil, fmt.Errorf("%w: nothing was published for it", ErrUnknownKey)
	}
	return out, nil
}

// The two parts of a list, which its cursor starts with: what waits in the
// channel's stream, and what the ledger says of the rest.
const (
	streamPart = "s"
	ledgerPart = "l"
)

func (s *server) listEntities(ctx context.Context, in *listInput) (*listOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if _, err := s.o.Registry.Get(ctx, in.Channel); err != nil {
		return nil, err
	}
	part, from, err := parseCursor(in.Cursor, in.State)
	if err != nil {
		return nil, err
	}
	out := &listOutput{}
	out.Body.Entities = []Whereabouts{}
	l := &listing{s: s, ctx: ctx, in: in, entities: &out.Body.Entities}
	if part == streamPart {
		next, err := l.stream(from)
		if err != nil {
			return nil, err
		}
		out.Body.Next = streamPart + strconv.FormatUint(next, 10)
		if next > 0 {
			return out, nil
		}
		if len(out.Body.Entities) > 0 || l.scanned > 0 {
			out.Body.Next = ledgerPart + "1"
			return out, nil
		}
	}
	next, err := l.ledger(from)
	if err != nil {
		return nil, err
	}
	out.Body.Next = ""
	if next > 0 {
		out.Body.Next = ledgerPart + strconv.FormatUint(next, 10)
	}
	return out, nil
}

func parseCursor(cursor, state string) (part string, from uint64, err error) {
	if cursor == "" {
		if state == "behind" {
			return streamPart, 1, nil
		}
		return ledgerPart, 1, nil
	}
	from, perr := strconv.ParseUint(cursor[1:], 10, 64)
	part = cursor[:1]
	if perr != nil || from == 0 || part != ledgerPart && (part != streamPart || state != "behind") {
		return "", 0, invalid(FieldError{Location: "query.cursor", Message: "it is not the cursor of a page of this list"})
	}
	return part, from, nil
}

// A listing is one page in the making.
type listing struct {
	s        *server
	ctx      context.Context //nolint:containedctx // it lives as long as one call
	in       *listInput
	entities *[]Whereabouts
	scanned  int
}

func (l *listing) full() bool { return len(*l.entities) >= l.in.Limit || l.scanned >= maxScan }

// stream adds the keys whose newest message the target does not hold.
func (l *listing) stream(from uint64) (next uint64, err error) {
	names, channel := l.s.o.Names, l.in.Channel
	q := events.StreamQuery{Stream: names.UpdateStream(channel), Subject: ">", From: from, HeadersOnly: true}
	for msg, err := range events.ReadStream(l.ctx, l.s.o.JS, q) {
		if err != nil {
			return 0, err
		}
		if l.full() {
			return msg.Sequence, nil
		}
		l.scanned++
		if err := l.waiting(msg); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func (l *listing) waiting(msg *jetstream.RawStreamMsg) error {
	_, enc, ok := l.s.o.Names.SplitStoredUpdate(msg.Subject)
	if !ok {
		return nil
	}
	rec, _, err := l.s.o.Publisher.Ledger().GetEncoded(l.ctx, l.in.Channel, enc)
	if err != nil && !errors.Is(err, events.ErrNoRecord) {
		return err
	}
	version, err := versioning.Parse(msg.Header.Get(events.HeaderVersion))
	if err != nil || version == rec.Applied.Version {
		return nil //nolint:nilerr // malformed ones are dead letters
	}
	key := rec.Key
	if key == "" {
		if u, _ := events.Decode(l.s.o.Names, msg.Subject, msg.Header, nil); u.Key != "" {
			key = u.Key
		}
	}
	if c, err := version.Compare(rec.Applied.Version); err == nil && c < 0 {
		return nil
	}
	w := Whereabouts{
		Channel: l.in.Channel, Key: key, State: "pending", Target: applied(&rec),
		Newest: &Copy{Version: version, Op: events.Op(msg.Header.Get(events.HeaderOp)), At: msg.Time},
	}
	describe(&w, &rec, version)
	*l.entities = append(*l.entities, w)
	return nil
}

// ledger adds the keys of which the ledger says that they are not well.
func (l *listing) ledger(from uint64) (next uint64, err error) {
	bucket := l.s.o.Names.LedgerBucket()
	q := events.StreamQuery{Stream: events.KVStream(bucket), Subject: l.s.o.Names.LedgerRecords(l.in.Channel), From: from}
	for msg, err := range events.ReadStream(l.ctx, l.s.o.JS, q) {
		if err != nil {
			return 0, err
		}
		if l.full() {
			return msg.Sequence, nil
		}
		l.scanned++
		if len(msg.Data) == 0 {
			continue // the mark of a removed record
		}
		rec, err := events.DecodeRecord(msg.Data)
		if err != nil {
			return 0, err
		}
		if w, ok := l.inState(&rec); ok {
			*l.entities = append(*l.entities, w)
		}
	}
	return 0, nil
}

func (l *listing) inState(rec *events.Record) (Whereabouts, bool) {
	newest := rec.Newest()
	w := Whereabouts{Channel: l.in.Channel, Key: rec.Key, State: "pending", Target: applied(rec)}
	if newest.IsZero() {
		return w, false
	}
	w.Newest = &Copy{Version: newest.Version, Digest: newest.Digest}
	describe(&w, rec, newest.Version)
	switch l.in.State {
	case "failing":
		return w, w.State == string(events.Retrying) || w.State == string(events.Parked) || w.State == string(events.DeadLettered)
	case "conflict":
		return w, w.State == string(events.Conflict)
	default: // what waits in the stream of a latest channel has been listed by it
		return w, newest.Version != rec.Applied.Version && w.State != string(events.Delivered)
	}
}

func applied(rec *events.Record) *Copy {
	if rec.Applied.IsZero() {
		return nil
	}
	return &Copy{Version: rec.Applied.Version, Digest: rec.Applied.Digest, Op: rec.Applied.Op, At: rec.Applied.At}
}

// describe says where a version stands by its record.
func describe(w *Whereabouts, rec *events.Record, version versioning.Version) {
	st, ended := rec.Find(versioning.Tag{Version: version})
	if !rec.Pending.IsZero() && (!ended || rec.Pending.Version == version) {
		w.State, w.Attempts, w.Error = string(rec.State), rec.Attempts, rec.Error
		if rec.NextAttempt.After(time.Now()) {
			w.NextAttempt = rec.NextAttempt
		}
		return
	}
	if ended {
		w.State, w.Attempts = string(st.Outcome), st.Attempts
		if st.Outcome != events.Delivered {
			w.Error = st.Failure()
		}
	}
}

package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

// MaxListed bounds the keys of a page. A page looks at listScan records at most: it may be
// short, and even empty, and still have a next one.
const (
	MaxListed = 1000
	listScan  = 2000
)

// ErrCursor says that a cursor is of no page of the list.
var ErrCursor = errors.New("it is not the cursor of a page of this list")

// A ListQuery selects a page of the keys of a channel, or of all channels: those that stand
// as all of its filters say, of which one that is empty lets every key through. Without any
// filter it selects those that have a reason.
type ListQuery struct {
	// Channel is the one to list; "" for all that Allows lets through, in the order of their
	// names, but for deleted ones. Allows nil lets every channel through.
	Channel string
	Allows  func(channel string) bool
	Sync    []why.Sync
	Health  []why.Health
	Why     []why.Code
	// Prefix lets keys through that begin so, OlderThan those that have been as they are for
	// longer. With Prefix alone the query selects keys without a reason, too.
	Prefix    string
	OlderThan time.Duration
	Limit     int    // 1 to MaxListed
	Cursor    string // Page.Next of the page before; "" for the first

	ends [2]uint64 // the last messages of the stream and of the ledger to look at; 0: to their end, wherever that is then
	now  time.Time // OlderThan counts from then; zero: from when it is asked
}

// A ListPage is a page of keys.
type ListPage struct {
	Entities []Whereabouts `json:"entities" doc:"May be empty although there is a next page. A key that changes meanwhile may come twice"`
	Next     string        `json:"next,omitempty" doc:"The cursor of the next page; none: this was the last"`
	Looked   int           `json:"looked" doc:"Records that this page has looked at"`
	Of       uint64        `json:"of" doc:"Records that there are at most to look at, in the channels that this page has looked at"`
}

// The two parts of a list, which its cursor starts with: what waits in the
// channel's stream, and what the ledger says of the rest.
const (
	streamPart = "s"
	ledgerPart = "l"
)

// List returns a page of keys. It fails with channels.ErrNotFound or with ErrCursor.
func (c *Client) List(ctx context.Context, q ListQuery) (ListPage, error) {
	out := ListPage{Entities: []Whereabouts{}}
	entries, err := c.channels(ctx, q.Channel)
	if err != nil {
		return out, err
	}
	registry, err := c.Registry(ctx)
	if err != nil {
		return out, err
	}
	crew, err := workers.Read(ctx, c.JS, c.Names)
	if err != nil {
		return out, err
	}
	ledger, err := wire.OpenLedger(ctx, c.JS, c.Names)
	if err != nil {
		return out, err
	}
	l := listing{c: c, q: q, records: ledger, crew: crew, look: standing.Looker{JS: c.JS, Names: c.Names, Registry: registry}, now: q.now, page: &out}
	if l.now.IsZero() {
		l.now = time.Now()
	}
	if q.Channel != "" {
		out.Next, err = l.channel(ctx, entries[0])
	} else {
		err = l.all(ctx, entries)
	}
	out.Looked = l.scanned
	return out, err
}

// channel adds keys of one channel. It returns the cursor of the next page; "" if this was
// the last one.
func (l *listing) channel(ctx context.Context, e channels.Entry) (string, error) {
	part, from, end, err := l.q.begin()
	if err != nil {
		return "", err
	}
	l.entry, l.from, l.end = e, 1, end
	stands, err := l.look.Channel(ctx, e, l.crew)
	if err != nil {
		return "", err
	}
	if l.held = heldBack(e, &stands); stands.Stock != nil {
		l.page.Of += uint64(stands.Stock.Keys) //nolint:gosec // no number of keys
	}
	if l.q.undecided() {
		if l.from, err = l.look.Registry.Unsettled(ctx, e); err != nil {
			return "", err
		}
		l.page.Of += min(stands.Messages, stands.Published+1-min(l.from, stands.Published+1))
	}
	if part == streamPart {
		// What lies before has outcomes, and is in the ledger.
		next, err := l.stream(ctx, max(from, l.from))
		switch {
		case err != nil:
			return "", err
		case next > 0:
			return streamPart + strconv.FormatUint(next, 10), nil
		case l.full():
			return l.ledgerCursor(1), nil
		}
		from = 1 // it was a place in the stream
	}
	next, err := l.ledger(ctx, from)
	if next > 0 {
		return l.ledgerCursor(next), err
	}
	return "", err
}

// ledgerCursor is that of a page which begins in the ledger: it says how far the stream was listed,
// too.
func (l *listing) ledgerCursor(from uint64) string {
	return ledgerPart + strconv.FormatUint(from, 10) + streamPart + strconv.FormatUint(l.end, 10)
}

// begin returns where a page begins, and, of one that begins in the ledger, how far the stream was
// listed.
func (q *ListQuery) begin() (part string, from, end uint64, err error) {
	switch {
	case q.Cursor == "" && q.undecided():
		return streamPart, 1, 0, nil
	case q.Cursor == "":
		return ledgerPart, 1, 0, nil
	}
	part = q.Cursor[:1]
	place, listed, ok := strings.Cut(q.Cursor[1:], streamPart)
	from, err = strconv.ParseUint(place, 10, 64)
	if part == ledgerPart && err == nil {
		end, err = strconv.ParseUint(listed, 10, 64)
	}
	if err != nil || from == 0 || ok != (part == ledgerPart) || part != ledgerPart && part != streamPart {
		return "", 0, 0, fmt.Errorf("%w: %.40q", ErrCursor, q.Cursor)
	}
	return part, from, end, nil
}

// undecided reports whether the query may select keys whose newest version has no outcome.
func (q *ListQuery) undecided() bool {
	return matches(q.Sync, why.Waiting, why.Behind) && (len(q.Health) == 0 || slices.ContainsFunc(q.Health, func(h why.Health) bool { return h != why.HealthDead }))
}

// selects reports whether a key stands as the query says.
func (q *ListQuery) selects(k *standing.Entity) bool {
	var code why.Code
	if k.Why != nil {
		code = k.Why.Code
	}
	if len(q.Sync)+len(q.Health)+len(q.Why) == 0 && q.Prefix == "" {
		return code != ""
	}
	return matches(q.Sync, k.Sync) && matches(q.Health, k.Health) && matches(q.Why, code)
}

// lasted reports whether a key has been as it is for as long as the query says: since its reason
// is there, else since its newest version was published, or, where the ledger alone knows the key,
// since the target has it.
func (q *ListQuery) lasted(w *Whereabouts, now time.Time) bool {
	if q.OlderThan == 0 {
		return true
	}
	since := w.Newest.At
	if since.IsZero() {
		since = w.Target.At
	}
	if w.Why != nil && !w.Why.Since.IsZero() {
		since = w.Why.Since
	}
	return !since.IsZero() && now.Sub(since) > q.OlderThan
}

// matches reports whether a filter lets one of some values through.
func matches[T comparable](filter []T, values ...T) bool {
	return len(filter) == 0 || slices.ContainsFunc(values, func(v T) bool { return slices.Contains(filter, v) })
}

// heldBack returns what holds each partition of a channel back; nil for one that moves.
func heldBack(e channels.Entry, stands *standing.Channel) []*why.Reason {
	out := make([]*why.Reason, e.Config.Partitions)
	for i := range stands.Partitions {
		out[i] = stands.Partitions[i].Why
	}
	return out
}

// A listing is one page in the making.
type listing struct {
	c       *Client
	q       ListQuery
	entry   channels.Entry
	held    []*why.Reason // by partition
	from    uint64        // sequence from which on the stream lists what has no outcome
	end     uint64        // sequence up to which it has listed that; 0: nothing
	records *wire.Ledger
	crew    workers.Crew
	look    standing.Looker
	now     time.Time
	page    *ListPage
	scanned int
}

func (l *listing) full() bool { return len(l.page.Entities) >= l.q.Limit || l.scanned >= listScan }

// add adds a key if the query selects it.
func (l *listing) add(w Whereabouts, f standing.Facts) {
	if w.stands(f); l.q.selects(&w.Entity) && l.q.lasted(&w, l.now) {
		w.forget(l.now)
		l.page.Entities = append(l.page.Entities, w)
	}
}

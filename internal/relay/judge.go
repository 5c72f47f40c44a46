package relay

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// cutTopic returns the name of the topic that a target is, as Route.ID writes it.
func cutTopic(target string) (topic string, ok bool) { return strings.CutPrefix(target, "topics/") }

// update makes the update of a row of a target; a payload has limit bytes at most. The error
// says what keeps it from being one.
func (one *row) update(target string, limit int64) (events.Update, error) {
	if one.size > limit {
		return events.Update{}, fmt.Errorf("%w: the payload has %d bytes; the broker takes %d (max_payload)", events.ErrTooLarge, one.size, limit)
	}
	u := events.Update{
		Key: one.key, Op: events.Op(one.op), Payload: one.payload, ContentType: one.contentType, ReplyTo: one.to,
	}
	var problems []error
	var err error
	if u.Version, err = versioning.Parse(one.version); err != nil {
		problems = append(problems, fmt.Errorf("version: %w", err))
	}
	if one.base != "" {
		if u.Base, err = versioning.Parse(one.base); err != nil {
			problems = append(problems, fmt.Errorf("base: %w", err))
		}
	}
	if problems != nil {
		return u, fmt.Errorf("%w: %w", events.ErrInvalidUpdate, errors.Join(problems...))
	}
	if topic, ok := cutTopic(target); ok {
		u.Topic = topic
	} else {
		u.Channel = target
	}
	if one.made > 0 {
		u.Time = time.UnixMicro(one.made).UTC()
	}
	return u, u.CheckPayload() // all else is looked at when it is published
}

// judge says what a publish means for its row. The row waits if there is no result: it was
// not published for now.
func judge(receipt events.Receipt, err error) Result {
	switch {
	case err == nil && receipt.Duplicate:
		return Duplicate
	case err == nil:
		return Published
	case errors.Is(err, events.ErrStale):
		return Stale
	case errors.Is(err, events.ErrConflict), errors.Is(err, events.ErrInvalidUpdate), errors.Is(err, events.ErrTooLarge):
		return SetAside
	}
	return ""
}

// settle notes what a publish means for its row.
func (c *claim) settle(one row, receipt events.Receipt, err error) {
	switch what := judge(receipt, err); what {
	case Published, Duplicate, Stale:
		c.gone = append(c.gone, one.id)
		c.count[what]++
	case SetAside:
		c.setAside(one.id, err)
	default:
		if errors.Is(err, events.ErrBusy) { // of this key alone; its turn comes again
			c.busy[one.key] = err
		} else {
			c.waits = err
		}
	}
}

func (c *claim) setAside(id int64, err error) {
	c.aside = append(c.aside, aside{id, clip(err.Error(), noteLen)})
	c.count[SetAside]++
}

// clip keeps a text from outside short, and readable everywhere.
func clip(text string, most int) string {
	return connectors.Clip(strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\x00", "?"), most)
}

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

// update makes the update of a row. The error says what keeps it from being one.
func (c *claim) update(one row) (events.Update, error) {
	if limit := c.r.o.MaxPayload(); one.size > limit {
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
	if topic, ok := cutTopic(c.target); ok {
		u.Topic = topic
	} else {
		u.Channel = c.target
	}
	if one.made > 0 {
		u.Time = time.UnixMicro(one.made).UTC()
	}
	return u, u.CheckPayload() // all else is looked at when it is published
}

// judge notes what a publish means for its row.
func (c *claim) judge(one row, receipt events.Receipt, err error) {
	switch {
	case err == nil && receipt.Duplicate:
		c.gone = append(c.gone, one.id)
		c.count[Duplicate]++
	case err == nil:
		c.gone = append(c.gone, one.id)
		c.count[Published]++
	case errors.Is(err, events.ErrStale):
		c.gone = append(c.gone, one.id)
		c.count[Stale]++
	case errors.Is(err, events.ErrConflict), errors.Is(err, events.ErrInvalidUpdate), errors.Is(err, events.ErrTooLarge):
		c.setAside(one.id, err)
	case errors.Is(err, events.ErrBusy): // of this key alone; its turn comes again
		c.busy[one.key] = err
	default:
		c.waits = err
	}
}

func (c *claim) setAside(id int64, err error) {
	c.aside = append(c.aside, aside{id, connectors.Clip(strings.ReplaceAll(strings.ToValidUTF8(err.Error(), "?"), "\x00", "?"), noteLen)})
	c.count[SetAside]++
}

package conncaldav

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// The connector's own properties.
const (
	ownPrefix   = "X-EXTSYNC-"
	propVersion = ownPrefix + "VERSION"
	propDigest  = ownPrefix + "DIGEST"
	propOp      = ownPrefix + "OP"
)

// Sizes in bytes. Servers add to what they were sent, and fold it in other ways.
const (
	maxPayload = 512 << 10
	maxObject  = 1 << 20
)

const (
	stampForm = "20060102T150405Z"
	// maxSequence is the most that SEQUENCE can be.
	maxSequence = math.MaxInt32
	product     = "-//extsync//extsync//EN"
)

// A draft is what is written for an update, but for what depends on what is there.
type draft struct {
	calendar component
	main     int // which part is the event or the task
	bare     bool
}

// draft returns what is to be written for an attempt. The error is for people, and the
// update's own.
func (c *connector) draft(a *connectors.Attempt) (d draft, err error) {
	if a.Op == events.Delete {
		d = draft{bare: true, calendar: component{
			name: "VCALENDAR", properties: []property{written("VERSION", "2.0"), written("PRODID", product)},
			parts: []component{{name: c.Component}},
		}}
	} else if d, err = c.read(a.Payload); err != nil {
		return d, err
	}
	main := &d.calendar.parts[d.main]
	own := []property{
		written("UID", c.uidOf(a.Key)),
		written("SEQUENCE", "0"), // at [sequenceAt]
		written(propVersion, a.Version.String()), written(propDigest, a.Digest.String()), written(propOp, string(a.WithDefaults().Op)),
	}
	if _, ok := main.first("DTSTAMP"); !ok {
		at := a.Time
		if at.IsZero() {
			at = c.now()
		}
		own = append(own, written("DTSTAMP", at.UTC().Format(stampForm)))
	}
	if d.bare {
		own = append(own, written("STATUS", "CANCELLED"))
		if c.Component == event {
			own = append(own, written("TRANSP", "TRANSPARENT")) // nobody is busy then
		}
	}
	main.properties = append(own, slices.DeleteFunc(main.properties, func(p property) bool {
		return p.name == "UID" || p.name == "SEQUENCE" || strings.HasPrefix(p.name, ownPrefix)
	})...)
	return d, nil
}

const sequenceAt = 1

// read checks that a payload is an object that a calendar can have.
func (c *connector) read(payload []byte) (d draft, err error) {
	if len(payload) > maxPayload {
		return d, fmt.Errorf("it has %d bytes, more than %d", len(payload), maxPayload)
	}
	if d.calendar, err = parse(payload); err != nil {
		return d, fmt.Errorf("it is not iCalendar: %w", err)
	}
	if d.calendar.name != "VCALENDAR" {
		return d, errors.New("it is not iCalendar: it is no VCALENDAR")
	}
	if v, _ := d.calendar.first("VERSION"); v != "2.0" {
		return d, errors.New("the VCALENDAR has no VERSION:2.0")
	}
	if _, ok := d.calendar.first("PRODID"); !ok {
		return d, errors.New("the VCALENDAR has no PRODID")
	}
	if _, ok := d.calendar.first("METHOD"); ok {
		return d, errors.New("the VCALENDAR has a METHOD, which calendars refuse: it is for invitations by mail")
	}
	found := 0
	for i, part := range d.calendar.parts {
		switch part.name {
		case "VTIMEZONE":
		case c.Component:
			d.main = i
			found++
		case event, task:
			return d, fmt.Errorf("it is a %s, and the channel's component is %s", part.name, c.Component)
		default:
			return d, fmt.Errorf("it has another component than one %s and VTIMEZONE", c.Component)
		}
	}
	if found != 1 {
		return d, fmt.Errorf("it has %d components %s, and must have one", found, c.Component)
	}
	main := &d.calendar.parts[d.main]
	if _, ok := main.first("DTSTART"); !ok && c.Component == event {
		return d, errors.New("the VEVENT has no DTSTART")
	}
	if _, ok := main.first("RECURRENCE-ID"); ok {
		return d, fmt.Errorf("the %s has a RECURRENCE-ID: it is one occurrence, and not the whole", c.Component)
	}
	return d, nil
}

// after returns what is sent to replace what is there.
func (d draft) after(there *object) []byte {
	calendar := d.calendar
	calendar.parts = slices.Clone(calendar.parts)
	main := &calendar.parts[d.main]
	main.properties = slices.Clone(main.properties)
	if there.Mark != "" {
		main.properties[sequenceAt] = written("SEQUENCE", strconv.FormatInt(min(there.sequence+1, maxSequence), 10))
	}
	if d.bare {
		times, zones := there.times(main.name)
		main.properties = append(main.properties, times...)
		calendar.parts = append(slices.Clone(zones), *main)
	}
	return calendar.appendTo(nil)
}

// An object is what a calendar holds under a name.
type object struct {
	connkit.State
	sequence int64
	main     component   // the event or task
	zones    []component // the VTIMEZONEs
}

// foreign returns an object that is none of the platform's.
func (o object) foreign(why string) object {
	o.Held, o.Foreign = connectors.Held{}, why
	return o
}

// objectOf reads an object that the calendar holds.
func objectOf(etag string, body []byte) object {
	o := object{State: connkit.State{Mark: etag}}
	calendar, err := parse(body)
	if err != nil || calendar.name != "VCALENDAR" {
		return o.foreign("it is not iCalendar")
	}
	for _, part := range calendar.parts {
		switch part.name {
		case "VTIMEZONE":
			o.zones = append(o.zones, part)
		case event, task:
			// A client that has changed one occurrence has left another component beside the
			// first, with its own SEQUENCE.
			text, _ := part.first("SEQUENCE")
			if n, err := strconv.ParseInt(text, 10, 32); err == nil {
				o.sequence = max(o.sequence, n)
			}
			if _, ok := part.first("RECURRENCE-ID"); o.main.name == "" || !ok {
				o.main = part
			}
		}
	}
	text, ok := o.main.first(propVersion)
	if !ok {
		return o.foreign("it has no " + propVersion + "; a client or the server may have taken it away")
	}
	if o.Version, err = versioning.Parse(text); err != nil {
		return o.foreign("its " + propVersion + " is no version")
	}
	text, _ = o.main.first(propDigest)
	if err := o.Digest.UnmarshalText([]byte(text)); err != nil || o.Digest.IsZero() {
		return o.foreign("its " + propDigest + " is no digest")
	}
	text, _ = o.main.first(propOp)
	if o.Op = events.Op(text); o.Op != events.Upsert && o.Op != events.Delete {
		return o.foreign("its " + propOp + " is neither upsert nor delete")
	}
	return o
}

// times returns what a tombstone of the component keeps of the object: when it is, and the
// time zones for that. An event must have a beginning: one that was never there has that
// of 1970.
func (o *object) times(name string) (times []property, zones []component) {
	if o.main.name == name {
		for _, p := range o.main.properties {
			if slices.Contains([]string{"DTSTART", "DTEND", "DUE", "DURATION"}, p.name) {
				times = append(times, p)
			}
		}
		zones = o.zones
	}
	if _, ok := (&component{properties: times}).first("DTSTART"); !ok && name == event {
		return []property{written("DTSTART", time.Unix(0, 0).UTC().Format(stampForm))}, nil
	}
	return times, zones
}

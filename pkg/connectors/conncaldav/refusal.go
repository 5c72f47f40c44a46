package conncaldav

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
)

const (
	codeChanged    = "412"
	codeNoCalendar = "no_calendar"
)

// Codes says what the conditions mean that a server names when it refuses something (RFC
// 4791, section 5.3.2.1, and others), and the codes that the connector has besides. A
// server that names none is judged by the status, as targets of kind http are, but for
// those at the end.
func Codes() []connectors.Meaning {
	const (
		act   = connectors.Misconfigured
		never = connectors.Permanent
		other = connectors.Conflict
		yet   = connectors.Unready
		fails = connectors.Transient
	)
	return []connectors.Meaning{
		{Code: "no-uid-conflict", Class: other, What: "another object has the UID of the key", Why: "somebody has moved or copied it, or another channel has the same uid_domain; remove one"},
		{Code: "unique-scheduling-object-resource", Class: other, What: "another calendar of the user has the UID of the key", Why: "remove one"},
		{Code: "valid-calendar-data", Class: never, What: "the payload is no iCalendar to the server", Why: "it stays so"},
		{Code: "valid-calendar-object-resource", Class: never, What: "the payload is not what an object may be", Why: "it stays so"},
		{Code: "supported-calendar-data", Class: act, What: "the calendar does not take iCalendar 2.0", Why: "it is not what url should be"},
		{Code: "supported-calendar-component", Class: act, What: "the calendar takes no such component", Why: "component or url is for somebody to set"},
		{Code: "max-resource-size", Class: never, What: "the payload is too large for the server", Why: "it stays so"},
		{Code: "min-date-time", Class: never, What: "it is too early for the server", Why: "it stays so"},
		{Code: "max-date-time", Class: never, What: "it is too late for the server", Why: "it stays so"},
		{Code: "max-instances", Class: never, What: "it recurs too often for the server", Why: "it stays so"},
		{Code: "max-attendees-per-instance", Class: never, What: "it has too many attendees for the server", Why: "it stays so"},
		{Code: "organizer-allowed", Class: never, What: "the user may not be the organizer", Why: "the payload says who is"},
		{Code: "attendee-allowed", Class: never, What: "the user may not be an attendee", Why: "the payload says who is"},
		{Code: "same-organizer-in-all-components", Class: never, What: "the organizers differ", Why: "the payload says who they are"},
		{Code: "allowed-organizer-scheduling-object-change", Class: never, What: "the organizer may not make this change", Why: "the payload makes it"},
		{Code: "allowed-attendee-scheduling-object-change", Class: never, What: "an attendee may not make this change", Why: "the payload makes it"},
		{Code: "need-privileges", Class: act, What: "the user may not do this", Why: "the rights are for somebody to change"},
		{Code: "quota-not-exceeded", Class: act, What: "a quota is used up", Why: "room is for somebody to make"},
		{Code: "sufficient-disk-space", Class: fails, What: "the server's disk is full", Why: "the trouble passes"},
		{Code: "lock-token-submitted", Class: yet, What: "somebody has locked the object", Why: "locks end"},
		{Code: codeNoCalendar, Class: act, What: "there is no calendar at the URL", Why: "somebody must make it, or set url"},
		{Code: "no_etag", Class: act, What: "the server gives objects no ETag", Why: "nothing can be written under a condition"},
		{Code: "weak_etag", Class: act, What: "the server gives weak ETags only, or something on the way weakens them", Why: "nothing can be written under a condition"},
		{Code: "foreign", Class: other, What: "there is an object without a version", Why: "a client or the server has taken it away; adopt writes over it"},
		{Code: "too_large", Class: other, What: "there is an object that is too large to be read", Why: "the platform did not write it so"},
		{Code: "payload", Class: never, What: "the payload is no object of the channel's component", Why: "the channel's render makes it"},
		{Code: "404", Class: act, What: "the calendar is not there any more", Why: "somebody must make it, or set url"},
		{Code: "409", Class: act, What: "the calendar is not there any more", Why: "somebody must make it, or set url"},
		{Code: codeChanged, Class: fails, What: "the server refuses the condition although it holds what was read", Why: "a copy that lags, or something on the way that changes ETags"},
		{Code: "415", Class: never, What: "the payload is no iCalendar to the server", Why: "it stays so: what is sent is text/calendar always"},
	}
}

// refusal is the document that a server sends with an error, and refusals the one that some
// send in its place, with the status 207, as if more than one thing had been asked.
type (
	refusal struct {
		XMLName    xml.Name                     `xml:"DAV: error"`
		Conditions []struct{ XMLName xml.Name } `xml:",any"`
	}
	refusals struct {
		XMLName xml.Name `xml:"DAV: multistatus"`
		Status  string   `xml:"response>status"`
		Error   *refusal `xml:"response>error"`
	}
)

// read returns the status of an answer and the conditions that it names.
func (a *answer) read() (status int, named map[string]bool) {
	status, named = a.status, map[string]bool{}
	var one refusal
	if status == http.StatusMultiStatus {
		var all refusals
		if xml.Unmarshal(a.body, &all) != nil {
			return status, named
		}
		var proto string
		var inner int
		if _, err := fmt.Sscanf(all.Status, "HTTP/%s %d", &proto, &inner); err == nil && inner >= 400 && inner <= 599 {
			status = inner
		}
		if all.Error != nil {
			one = *all.Error
		}
	} else if xml.Unmarshal(a.body, &one) != nil {
		return status, named
	}
	for _, condition := range one.Conditions {
		named[condition.XMLName.Local] = true
	}
	return status, named
}

// judge returns the code and the class of an answer that is no success, and what it means if
// that is known.
func judge(a answer) connectors.Meaning {
	status, named := a.read()
	codes := Codes()
	for _, m := range codes {
		if named[m.Code] && status >= 400 {
			return m
		}
	}
	code := strconv.Itoa(status)
	for _, m := range codes {
		if m.Code == code {
			return m
		}
	}
	m := connectors.Meaning{Code: code, Class: httpkit.ClassOf(status, waitOf(a) > 0), What: http.StatusText(status)}
	if m.Class == connectors.OK { // one that says nothing of what was asked
		m.Class = connectors.Transient
	}
	return m
}

func waitOf(a answer) time.Duration { return httpkit.RetryAfter(a.header, time.Now()) }

// refused is the result of an answer that is no success.
func (c *connector) refused(method string, a answer) *connectors.Result {
	m := judge(a)
	text := fmt.Sprintf("%s %s answered %d", method, c.calendar.Host, a.status)
	if m.What != "" {
		text += ": " + m.What
	}
	res := failed(m.Class, m.Code, errors.New(text))
	if m.Class != connectors.Permanent && m.Class != connectors.Conflict {
		res.RetryAfter = waitOf(a)
	}
	res.Response = c.scrubber.Excerpt(a.body, connectors.MaxResponse, a.cut)
	return res
}

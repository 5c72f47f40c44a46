// Package plain makes texts from outside fit for a header, a log line and a record.
package plain

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// Message returns what a result says, for people: in one line of at most
// events.MaxMessageLen bytes, "" for one without an error.
func Message(res connectors.Result) string {
	if res.Err == nil {
		return ""
	}
	var e *connectors.Error
	if errors.As(res.Err, &e) && e.Code == res.Code {
		return Text(e.Err.Error(), events.MaxMessageLen)
	}
	return Text(res.Err.Error(), events.MaxMessageLen)
}

// Text returns a text of at most that many bytes, with spaces in place of control
// characters and of what is not UTF-8.
func Text(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return strings.Clone(s[:most]) // the rest need not stay in memory
}

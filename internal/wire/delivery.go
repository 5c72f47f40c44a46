package wire

import (
	"bytes"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A Delivery is what a record says of the version that the target holds.
type Delivery struct {
	Key       string
	ChannelID string
	Applied   Applied
}

// Delivery returns what the record says of the version that the target holds.
func (r *Record) Delivery() Delivery {
	return Delivery{Key: r.Key, ChannelID: r.ChannelID, Applied: r.Applied}
}

// DecodeDelivery reads that much of a record's stored form, at a tenth of the cost of
// DecodeRecord: an audit reads every record of a channel. What the record says besides is
// not checked.
func DecodeDelivery(data []byte) (Delivery, error) {
	if d, ok := scanDelivery(data); ok {
		return d, nil
	}
	r, err := DecodeRecord(data)
	return r.Delivery(), err
}

// recordBegins is how Record.Append begins.
var recordBegins = fmt.Appendf(nil, `{"f":%d,"key":"`, Format) //nolint:gochecknoglobals // a constant that the language cannot express as one

// scanDelivery reads a record that is written as Record.Append does, up to what was
// delivered. It returns false for every other form, and for texts with escapes.
func scanDelivery(data []byte) (d Delivery, ok bool) {
	rest, ok := bytes.CutPrefix(data, recordBegins)
	if !ok || data[len(data)-1] != '}' {
		return d, false
	}
	s := scanner{rest: rest}
	key := s.text()
	s.skip(`,"incarnation":"`)
	s.text()
	s.skip(`,"seq":`)
	s.digits()
	var id []byte
	if s.has(`,"channel_id":"`) {
		id = s.text()
	}
	s.skip(`,"applied":{"version":"`)
	version := s.text()
	s.skip(`,"digest":"`)
	digest := s.text()
	var op []byte
	if s.has(`,"op":"`) {
		op = s.text()
	}
	s.skip(`,"at":"`)
	at := s.text()
	s.skip("},")
	if s.failed || !utf8.Valid(key) || !utf8.Valid(id) || !utf8.Valid(op) {
		return d, false
	}
	var t time.Time
	v, err := versioning.Parse(string(version))
	if err != nil || d.Applied.Digest.UnmarshalText(digest) != nil || t.UnmarshalText(at) != nil {
		return d, false
	}
	d.Key, d.ChannelID = string(key), string(id)
	d.Applied.Version, d.Applied.Op, d.Applied.At = v, own(events.Op(op)), t
	return d, true
}

// A scanner reads what it expects, and fails for good where something else comes.
type scanner struct {
	rest   []byte
	failed bool
}

func (s *scanner) has(prefix string) bool {
	if len(s.rest) < len(prefix) || string(s.rest[:len(prefix)]) != prefix {
		return false
	}
	s.rest = s.rest[len(prefix):]
	return true
}

func (s *scanner) skip(prefix string) {
	if !s.has(prefix) {
		s.failed = true
	}
}

// text returns the rest of a string, without its closing quote.
func (s *scanner) text() []byte {
	for i, c := range s.rest {
		switch {
		case c == '"':
			text := s.rest[:i]
			s.rest = s.rest[i+1:]
			return text
		case c == '\\' || c < ' ':
			s.failed = true
			return nil
		}
	}
	s.failed = true
	return nil
}

func (s *scanner) digits() {
	n := 0
	for n < len(s.rest) && s.rest[n] >= '0' && s.rest[n] <= '9' {
		n++
	}
	if s.rest = s.rest[n:]; n == 0 {
		s.failed = true
	}
}

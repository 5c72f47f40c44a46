package events

import (
	"errors"
	"fmt"
	"mime"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/versioning"
)

// Op is what an update does to the entity.
type Op string

// The operations. The zero value counts as Upsert.
const (
	Upsert Op = "upsert"
	// Delete is a tombstone: a removal that has a version, so that an older
	// upsert which comes late cannot bring the entity back.
	Delete Op = "delete"
)

// Defaults of an update's CloudEvents attributes.
const (
	DefaultSource      = "extsync"
	DefaultType        = "extsync.update"
	DefaultContentType = "application/json"
)

// Limits of what an update may carry besides its payload, in bytes.
const (
	maxAttributeLen = 512
	maxTraceLen     = 1024
)

// ErrInvalidUpdate says that an update cannot be published or, read from the
// wire, is not what the contract asks for. The message names every bad field.
var ErrInvalidUpdate = errors.New("invalid update")

// An Update is one version of one entity on its way to a channel, or to all channels that
// read a topic.
type Update struct {
	Channel string // to which it is published; either this or Topic is required
	// Topic is where it is published for all channels that read the topic.
	Topic   string
	Key     string             // the entity's id within the channel or topic, 1 to MaxKeyLen bytes; required
	Version versioning.Version // orders the updates of the key; required
	Op      Op                 // zero: Upsert
	// Base is the version that this one was made from. If given, the update is
	// a conflict when the newest version is another one. Zero: not checked.
	Base versioning.Version
	// Payload is handed to the target as it is, unless the channel maps it. It
	// may be empty for a Delete.
	Payload     []byte
	ContentType string // zero: application/json

	ID     string    // CloudEvents id, the same in every retry; zero: MessageID
	Source string    // CloudEvents source, a URI reference; zero: DefaultSource
	Type   string    // CloudEvents type; zero: DefaultType
	Time   time.Time // when the platform made the version; zero: left out

	// ReplyTo is where the ack goes: an inbox, or Names.ServiceAck. Zero: nowhere.
	ReplyTo string
	// ReplyLines allows several acks in one message to ReplyTo, for a publisher of
	// many updates with one ReplyTo; read them with publish.DecodeAcks.
	ReplyLines  bool
	TraceParent string // W3C trace context
	TraceState  string
}

// Digest returns what tells two contents of one version apart.
func (u *Update) Digest() versioning.Digest { return versioning.Sum(string(u.op()), u.Payload) }

// Tag returns version and digest.
func (u *Update) Tag() versioning.Tag {
	return versioning.Tag{Version: u.Version, Digest: u.Digest()}
}

func (u *Update) op() Op {
	if u.Op == "" {
		return Upsert
	}
	return u.Op
}

// MessageID returns the id under which the broker recognises a repeated publish:
// <channel>/<encoded key>/<version>/<first 16 digits of the digest>, for a topic
// topics/<topic>/... It is also the update's CloudEvents id unless it has one, so the same
// update has the same id however often it is published.
func MessageID(r Route, encodedKey string, tag versioning.Tag) string {
	return r.ID() + "/" + encodedKey + "/" + tag.Version.String() + "/" + tag.Digest.Short()
}

// Route returns where the update is published.
func (u *Update) Route() Route {
	if u.Topic != "" {
		return ToTopic(u.Topic)
	}
	return ToChannel(u.Channel)
}

// WithDefaults returns the update with every zero field that has a default
// filled in. It does not look at whether the result is valid.
func (u Update) WithDefaults() Update {
	u.Op = u.op()
	if u.Source == "" {
		u.Source = DefaultSource
	}
	if u.Type == "" {
		u.Type = DefaultType
	}
	if u.ContentType == "" {
		u.ContentType = DefaultContentType
	}
	if u.ID == "" {
		if enc, err := EncodeKey(u.Key); err == nil { // a bad key is for Validate to say
			u.ID = MessageID(u.Route(), enc, u.Tag())
		}
	}
	return u
}

// Validate checks an update that has its defaults. The error wraps
// ErrInvalidUpdate and names every bad field.
func (u *Update) Validate() error {
	return invalid(u.Problems())
}

// ValidateNew is Validate for an update that is still to be published: its ReplyTo must be a
// subject, too. A worker delivers one that has another, and sends no ack.
func (u *Update) ValidateNew() error {
	bad := u.Problems()
	if u.ReplyTo != "" && !isSubject(u.ReplyTo) && checkAttribute(u.ReplyTo, MaxReplyLen, false) == "" {
		bad = append(bad, FieldProblem{"reply to", fmt.Sprintf("%.80q is not a subject: it has an empty part, a space, a * or a >", u.ReplyTo)})
	}
	return invalid(bad)
}

// isSubject reports whether a text without control characters is a subject without wildcards.
func isSubject(text string) bool {
	empty := true // the part that text[i] is in, until here
	for i := range len(text) {
		switch text[i] {
		case ' ', '*', '>':
			return false
		case '.':
			if empty {
				return false
			}
			empty = true
		default:
			empty = false
		}
	}
	return !empty
}

func invalid(bad []FieldProblem) error {
	if len(bad) == 0 {
		return nil
	}
	texts := make([]string, len(bad))
	for i, p := range bad {
		texts[i] = p.Field + ": " + p.Message
	}
	return fmt.Errorf("%w: %s", ErrInvalidUpdate, strings.Join(texts, "; "))
}

// A FieldProblem says what is wrong with a field of an update.
type FieldProblem struct{ Field, Message string }

// Problems returns what Validate finds, field by field; nil if that is nothing.
func (u *Update) Problems() (bad []FieldProblem) {
	_, keyErr := EncodeKey(u.Key)
	fail := func(field, format string, args ...any) {
		bad = append(bad, FieldProblem{field, fmt.Sprintf(format, args...)})
	}
	switch {
	case u.Topic == "":
		if err := CheckChannel(u.Channel); err != nil {
			fail("channel", "%v", err)
		}
	case u.Channel != "":
		fail("topic", "the update has a channel, too: it goes to one or the other")
	default:
		if err := CheckTopic(u.Topic); err != nil {
			fail("topic", "%v", err)
		}
	}
	if keyErr != nil {
		fail("key", "%v", keyErr)
	}
	if u.Version.IsZero() {
		fail("version", "it is missing; give a number of at least 1 or an RFC 3339 time")
	}
	if !u.Base.IsZero() && !u.Version.IsZero() && u.Base.Kind() != u.Version.Kind() {
		fail("base", "%v", versioning.ErrKindMismatch)
	}
	if u.Op != Upsert && u.Op != Delete {
		fail("op", "%.80q is neither %q nor %q", string(u.Op), Upsert, Delete)
	}
	for _, a := range []struct {
		field, value string
		max          int
		required     bool
	}{
		{"id", u.ID, maxAttributeLen, keyErr == nil && !u.Version.IsZero()}, // else it could not be made of them
		{"source", u.Source, maxAttributeLen, true},
		{"type", u.Type, maxAttributeLen, true},
		{"content type", u.ContentType, maxAttributeLen, true},
		{"reply to", u.ReplyTo, MaxReplyLen, false},
		{"traceparent", u.TraceParent, maxTraceLen, false},
		{"tracestate", u.TraceState, maxTraceLen, false},
	} {
		if problem := checkAttribute(a.value, a.max, a.required); problem != "" {
			fail(a.field, "%s", problem)
		}
	}
	if u.ContentType != "" && u.ContentType != DefaultContentType {
		if _, _, err := mime.ParseMediaType(u.ContentType); err != nil {
			fail("content type", "%.80q is not a media type", u.ContentType)
		}
	}
	if y := u.Time.UTC().Year(); !u.Time.IsZero() && (y < 1 || y > 9999) {
		fail("time", "year %d is outside 1..9999", y)
	}
	return bad
}

// checkAttribute says what keeps a value out of a header, "" if nothing does. A
// line break would end the header and start another.
func checkAttribute(s string, most int, required bool) string {
	switch {
	case s == "" && required:
		return "it is missing"
	case len(s) > most:
		return fmt.Sprintf("%d bytes are more than %d", len(s), most)
	case s != strings.TrimSpace(s):
		return "it starts or ends with white space"
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return "only printable ASCII characters are allowed"
		}
	}
	return ""
}

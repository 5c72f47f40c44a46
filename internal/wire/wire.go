package wire

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// specVersion is the version of CloudEvents that an update follows.
const specVersion = "1.0"

// replyLines is the reply form of Update.ReplyLines.
const replyLines = "lines"

// An Outgoing is an update that is ready to be published, with what is known of
// it, so that nothing is computed twice.
type Outgoing struct {
	Update     events.Update // with its defaults
	Route      events.Route
	Tag        versioning.Tag
	EncodedKey string
	Path       string // <route>/<encoded key>
	Msg        *nats.Msg
	Size       int // of Msg: payload and headers, in bytes
	// Charged: the publisher has counted it against the room of its route.
	Charged bool
}

// Encode returns the message that carries u, without the expected sequence: that
// is for the publisher, who knows the key's head. It fills in the defaults and
// fails as Validate does.
func Encode(n events.Names, u events.Update) (*nats.Msg, error) {
	o, err := Prepare(n, u)
	return o.Msg, err
}

func Prepare(n events.Names, u events.Update) (Outgoing, error) {
	enc, _ := events.EncodeKey(u.Key) // a bad key is for Validate to say
	tag := u.Tag()
	route := u.Route()
	id := events.MessageID(route, enc, tag)
	if u.ID == "" { // WithDefaults would take the digest again
		u.ID = id
	}
	u = u.WithDefaults()
	if err := u.ValidateNew(); err != nil {
		return Outgoing{}, err
	}
	h := make(headers, 0, 15)
	h.set(nats.MsgIdHdr, id)
	h.set(events.HeaderSpecVersion, specVersion)
	h.set(events.HeaderID, u.ID)
	h.set(events.HeaderSource, u.Source)
	h.set(events.HeaderType, u.Type)
	h.set(events.HeaderSubject, events.EncodeHeaderKey(u.Key))
	h.set(events.HeaderVersion, u.Version.String())
	h.set(events.HeaderOp, string(u.Op))
	h.set(events.HeaderContentType, u.ContentType)
	if !u.Time.IsZero() {
		h.set(events.HeaderTime, u.Time.UTC().Format(time.RFC3339Nano))
	}
	h.set(events.HeaderBase, u.Base.String())
	h.set(events.HeaderReplyTo, u.ReplyTo)
	if u.ReplyLines {
		h.set(events.HeaderReplyForm, replyLines)
	}
	h.set(events.HeaderTraceParent, u.TraceParent)
	h.set(events.HeaderTraceState, u.TraceState)
	header, size := h.header()
	return Outgoing{
		Update: u, Route: route, Tag: tag, EncodedKey: enc, Path: id[:len(route.ID())+1+len(enc)],
		Msg:  &nats.Msg{Subject: n.Update(route, enc), Header: header, Data: u.Payload},
		Size: size + len(u.Payload),
	}, nil
}

// headers are name and value of each header of a message.
type headers [][2]string

// set adds a header that has a value.
func (h *headers) set(name, value string) {
	if value != "" {
		*h = append(*h, [2]string{name, value})
	}
}

// header returns the headers in the client's form, with room for one more, and
// their size on the wire. All values share one array.
func (h headers) header() (nats.Header, int) {
	out := make(nats.Header, len(h)+1)
	values := make([]string, len(h))
	size := 0
	for i, nv := range h {
		values[i] = nv[1]
		out[nv[0]] = values[i : i+1 : i+1]
		size += len(nv[0]) + len(nv[1]) + len(": \r\n")
	}
	return out, size
}

// Decode reads an update as the stream holds it. subject is the stored subject
// (see StoredUpdate). It fails with ErrInvalidUpdate, naming every bad
// field; what could be read is returned all the same, for a record of the
// failure. The payload is not copied.
func Decode(n events.Names, subject string, h nats.Header, data []byte) (events.Update, error) {
	u := events.Update{Payload: data}
	var t texts
	readHeaders(&u, h, &t)
	var bad []string
	fail := func(header string, err error) { bad = append(bad, header+": "+err.Error()) }

	route, enc, ok := SplitStoredUpdate(n, subject)
	if !ok {
		fail("subject", fmt.Errorf("%w: %.80q is not a stored update's", events.ErrName, subject))
	}
	if u.Topic = route.Topic(); u.Topic == "" {
		u.Channel = route.Name()
	}
	key, err := decodeSubject(t.subject, enc)
	if err != nil {
		fail(events.HeaderSubject, err)
	}
	u.Key = key
	if u.Version, err = versioning.Parse(t.version); err != nil {
		fail(events.HeaderVersion, err)
	}
	if t.base != "" {
		if u.Base, err = versioning.Parse(t.base); err != nil {
			fail(events.HeaderBase, err)
		}
	}
	if t.time != "" {
		if u.Time, err = time.Parse(time.RFC3339Nano, t.time); err != nil {
			fail(events.HeaderTime, fmt.Errorf("%.80q is not an RFC 3339 time", t.time))
		}
	}
	if t.spec != specVersion {
		fail(events.HeaderSpecVersion, fmt.Errorf("%.80q is not %q", t.spec, specVersion))
	}
	if u.ID == "" || u.Source == "" || u.Type == "" {
		fail(events.HeaderID+", "+events.HeaderSource+", "+events.HeaderType, fmt.Errorf("CloudEvents requires all three"))
	}
	if len(bad) > 0 {
		return u, fmt.Errorf("%w: %s", events.ErrInvalidUpdate, strings.Join(bad, "; "))
	}
	u = u.WithDefaults()
	return u, u.Validate()
}

// texts are headers that are still to be read.
type texts struct{ subject, version, base, time, spec string }

// readHeaders goes through the headers once, which takes half as long as asking for
// each.
func readHeaders(u *events.Update, h nats.Header, t *texts) {
	for name, values := range h {
		if len(values) == 0 {
			continue
		}
		v := values[0]
		switch name {
		case events.HeaderOp:
			u.Op = events.Op(v)
		case events.HeaderContentType:
			u.ContentType = v
		case events.HeaderID:
			u.ID = v
		case events.HeaderSource:
			u.Source = v
		case events.HeaderType:
			u.Type = v
		case events.HeaderReplyTo:
			u.ReplyTo = v
		case events.HeaderReplyForm:
			u.ReplyLines = v == replyLines
		case events.HeaderTraceParent:
			u.TraceParent = v
		case events.HeaderTraceState:
			u.TraceState = v
		case events.HeaderSubject:
			t.subject = v
		case events.HeaderVersion:
			t.version = v
		case events.HeaderBase:
			t.base = v
		case events.HeaderTime:
			t.time = v
		case events.HeaderSpecVersion:
			t.spec = v
		}
	}
}

// decodeSubject returns the key: ce-subject if there is one, which must belong
// to the subject's token, else the token turned back.
func decodeSubject(header, enc string) (string, error) {
	if header == "" {
		return events.DecodeKey(enc)
	}
	key, err := events.DecodeHeaderKey(header)
	if err != nil {
		return "", err
	}
	again, err := events.EncodeKey(key)
	if err != nil {
		return "", err
	}
	if again != enc {
		return "", fmt.Errorf("%w: %.80q does not belong to the subject's last token %.80q", events.ErrKey, header, enc)
	}
	return key, nil
}

// HeaderExpectedSeq has the sequence that the last message of its subject must have.
const HeaderExpectedSeq = nats.ExpectedLastSubjSeqHdr

// HeaderChannelID says in a parked update and in a dead letter which channel they are
// of (see MetadataChannelID).
const HeaderChannelID = "Extsync-Channel-Id"

// HeaderReset makes a message in a channel's stream the head of a key that has no
// version any more: the key was reset then (RFC 3339). Such a message takes the place
// of the newest update, which would come back, or the one before it, if it were
// removed and the broker killed. It is no update and has no outcome.
const HeaderReset = "Extsync-Reset"

// ResetMessage returns the message that ends a key's versions.
func ResetMessage(n events.Names, r events.Route, encodedKey string, at time.Time) *nats.Msg {
	msg := nats.NewMsg(n.Update(r, encodedKey))
	msg.Header.Set(HeaderReset, at.UTC().Format(time.RFC3339Nano))
	return msg
}

// IsReset reports whether headers are those of such a message.
func IsReset(h nats.Header) bool { return len(h[HeaderReset]) > 0 }

// The headers that a dead letter has besides those of its update.
const (
	HeaderDeadOutcome  = "Extsync-Dead-Outcome"
	HeaderDeadReason   = "Extsync-Dead-Reason"
	HeaderDeadClass    = "Extsync-Dead-Class"
	HeaderDeadCode     = "Extsync-Dead-Code"
	HeaderDeadResponse = "Extsync-Dead-Response"
	HeaderDeadAttempts = "Extsync-Dead-Attempts"
	HeaderDeadFirst    = "Extsync-Dead-First-Attempt"
	HeaderDeadLast     = "Extsync-Dead-Last-Attempt"
	HeaderDeadWorker   = "Extsync-Dead-Worker"
	HeaderDeadSequence = "Extsync-Dead-Sequence"
)

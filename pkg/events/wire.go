package events

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/pkg/versioning"
)

// The headers of an update on the wire: CloudEvents 1.0 in binary mode, and what
// JetStream needs. nats.Header is case-sensitive: exactly these spellings.
const (
	HeaderMsgID       = nats.MsgIdHdr
	HeaderExpectedSeq = nats.ExpectedLastSubjSeqHdr
	HeaderSpecVersion = "ce-specversion"
	HeaderID          = "ce-id"
	HeaderSource      = "ce-source"
	HeaderType        = "ce-type"
	HeaderTime        = "ce-time"
	HeaderSubject     = "ce-subject"
	HeaderVersion     = "ce-entityversion"
	HeaderOp          = "ce-op"
	HeaderBase        = "ce-baseversion"
	HeaderContentType = "content-type"
	HeaderReplyTo     = "Extsync-Reply-To"
	HeaderReplyForm   = "Extsync-Reply-Form"
	HeaderTraceParent = "traceparent"
	HeaderTraceState  = "tracestate"
)

// specVersion is the version of CloudEvents that an update follows.
const specVersion = "1.0"

// replyLines is the reply form of Update.ReplyLines.
const replyLines = "lines"

// An outgoing is an update that is ready to be published, with what is known of
// it, so that nothing is computed twice.
type outgoing struct {
	u    Update // with its defaults
	tag  versioning.Tag
	enc  string // the key's encoded form
	path string // <channel>/<encoded key>
	msg  *nats.Msg
	size int // of msg: payload and headers, in bytes
}

// Encode returns the message that carries u, without the expected sequence: that
// is for the publisher, who knows the key's head. It fills in the defaults and
// fails as Validate does.
func Encode(n Names, u Update) (*nats.Msg, error) {
	o, err := encode(n, u)
	return o.msg, err
}

func encode(n Names, u Update) (outgoing, error) {
	enc, keyErr := EncodeKey(u.Key)
	tag := u.Tag()
	id := messageID(u.Channel, enc, tag)
	u = u.withDefaults(id)
	if err := u.validate(keyErr); err != nil {
		return outgoing{}, err
	}
	h := make(headers, 0, 15)
	h.set(HeaderMsgID, id)
	h.set(HeaderSpecVersion, specVersion)
	h.set(HeaderID, u.ID)
	h.set(HeaderSource, u.Source)
	h.set(HeaderType, u.Type)
	h.set(HeaderSubject, headerKey(u.Key))
	h.set(HeaderVersion, u.Version.String())
	h.set(HeaderOp, string(u.Op))
	h.set(HeaderContentType, u.ContentType)
	if !u.Time.IsZero() {
		h.set(HeaderTime, u.Time.UTC().Format(time.RFC3339Nano))
	}
	h.set(HeaderBase, u.Base.String())
	h.set(HeaderReplyTo, u.ReplyTo)
	if u.ReplyLines {
		h.set(HeaderReplyForm, replyLines)
	}
	h.set(HeaderTraceParent, u.TraceParent)
	h.set(HeaderTraceState, u.TraceState)
	header, size := h.header()
	return outgoing{
		u: u, tag: tag, enc: enc, path: id[:len(u.Channel)+1+len(enc)],
		msg:  &nats.Msg{Subject: n.Update(u.Channel, enc), Header: header, Data: u.Payload},
		size: size + len(u.Payload),
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
// (see Names.StoredUpdate). It fails with ErrInvalidUpdate, naming every bad
// field; what could be read is returned all the same, for a record of the
// failure. The payload is not copied.
func Decode(n Names, subject string, h nats.Header, data []byte) (Update, error) {
	u := Update{Payload: data}
	var t texts
	u.readHeaders(h, &t)
	var bad []string
	fail := func(header string, err error) { bad = append(bad, header+": "+err.Error()) }

	channel, enc, ok := n.SplitStoredUpdate(subject)
	if !ok {
		fail("subject", fmt.Errorf("%w: %q is not a stored update's", ErrName, clip(subject)))
	}
	u.Channel = channel
	key, err := decodeSubject(t.subject, enc)
	if err != nil {
		fail(HeaderSubject, err)
	}
	u.Key = key
	if u.Version, err = versioning.Parse(t.version); err != nil {
		fail(HeaderVersion, err)
	}
	if t.base != "" {
		if u.Base, err = versioning.Parse(t.base); err != nil {
			fail(HeaderBase, err)
		}
	}
	if t.time != "" {
		if u.Time, err = time.Parse(time.RFC3339Nano, t.time); err != nil {
			fail(HeaderTime, fmt.Errorf("%q is not an RFC 3339 time", clip(t.time)))
		}
	}
	if t.spec != specVersion {
		fail(HeaderSpecVersion, fmt.Errorf("%q is not %q", clip(t.spec), specVersion))
	}
	if u.ID == "" || u.Source == "" || u.Type == "" {
		fail(HeaderID+", "+HeaderSource+", "+HeaderType, fmt.Errorf("CloudEvents requires all three"))
	}
	if len(bad) > 0 {
		return u, fmt.Errorf("%w: %s", ErrInvalidUpdate, strings.Join(bad, "; "))
	}
	u = u.WithDefaults()
	return u, u.validate(nil) // the key has been checked
}

// texts are headers that are still to be read.
type texts struct{ subject, version, base, time, spec string }

// readHeaders goes through the headers once, which takes half as long as asking for
// each.
func (u *Update) readHeaders(h nats.Header, t *texts) {
	for name, values := range h {
		if len(values) == 0 {
			continue
		}
		v := values[0]
		switch name {
		case HeaderOp:
			u.Op = Op(v)
		case HeaderContentType:
			u.ContentType = v
		case HeaderID:
			u.ID = v
		case HeaderSource:
			u.Source = v
		case HeaderType:
			u.Type = v
		case HeaderReplyTo:
			u.ReplyTo = v
		case HeaderReplyForm:
			u.ReplyLines = v == replyLines
		case HeaderTraceParent:
			u.TraceParent = v
		case HeaderTraceState:
			u.TraceState = v
		case HeaderSubject:
			t.subject = v
		case HeaderVersion:
			t.version = v
		case HeaderBase:
			t.base = v
		case HeaderTime:
			t.time = v
		case HeaderSpecVersion:
			t.spec = v
		}
	}
}

// decodeSubject returns the key: ce-subject if there is one, which must belong
// to the subject's token, else the token turned back.
func decodeSubject(header, enc string) (string, error) {
	if header == "" {
		return DecodeKey(enc)
	}
	key, ok := unescape(header, '%')
	if !ok {
		return "", fmt.Errorf("%w: %q is not percent-encoded", ErrKey, clip(header))
	}
	again, err := EncodeKey(key)
	if err != nil {
		return "", err
	}
	if again != enc {
		return "", fmt.Errorf("%w: %q does not belong to the subject's last token %q", ErrKey, clip(header), clip(enc))
	}
	return key, nil
}

// HeaderChannelID says in a parked update and in a dead letter which channel they are
// of (see MetadataChannelID).
const HeaderChannelID = "Extsync-Channel-Id"

// HeaderReset makes a message in a channel's stream the head of a key that has no
// version any more: the key was reset then (RFC 3339). Such a message takes the place
// of the newest update, which would come back, or the one before it, if it were
// removed and the broker killed. It is no update and has no outcome.
const HeaderReset = "Extsync-Reset"

// ResetMessage returns the message that ends a key's versions.
func ResetMessage(n Names, channel, encodedKey string, at time.Time) *nats.Msg {
	msg := nats.NewMsg(n.Update(channel, encodedKey))
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

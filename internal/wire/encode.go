package wire

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// The worker writes a group, an ack and a record for each update. These encoders
// give what encoding/json gives for the same value, byte for byte, at a tenth of
// its cost: the tags of the types say what is stored, and a fuzz test compares.

// An object appends the members of a JSON object to out.
type object struct {
	out   []byte
	first int // length of out before the first member
	err   error
	// The last digest and time that were written: most come again, in the same record
	// or in the next entry of a group.
	digestText [2 * len(versioning.Digest{})]byte
	digestLen  int
	lastDigest versioning.Digest
	timeText   [len(time.RFC3339Nano)]byte
	timeLen    int
	lastTime   time.Time
}

func begin(out []byte) object {
	o := object{out: out}
	o.open()
	return o
}

// open begins an object within, which close ends.
func (o *object) open() (outer int) {
	o.out = append(o.out, '{')
	outer, o.first = o.first, len(o.out)
	return outer
}

func (o *object) close(outer int) {
	o.out = append(o.out, '}')
	o.first = outer
}

// name begins a member. Names come as they are written behind another member, with
// comma, quotes and colon: they are appended in one piece.
func (o *object) name(name string) {
	if len(o.out) == o.first {
		name = name[1:]
	}
	o.out = append(o.out, name...)
}

func (o *object) str(name, value string) {
	o.name(name)
	o.out = appendString(o.out, value)
}

func (o *object) strIfAny(name, value string) {
	if value != "" {
		o.str(name, value)
	}
}

func (o *object) int(name string, value int64) {
	o.name(name)
	o.out = strconv.AppendInt(o.out, value, 10)
}

func (o *object) intIfAny(name string, value int64) {
	if value != 0 {
		o.int(name, value)
	}
}

func (o *object) uint(name string, value uint64) {
	o.name(name)
	o.out = strconv.AppendUint(o.out, value, 10)
}

func (o *object) incarnation(name string, i Incarnation) {
	const digits = "0123456789abcdef"
	o.name(name)
	o.out = append(o.out, '"')
	for shift := 60; shift >= 0; shift -= 4 {
		o.out = append(o.out, digits[i>>shift&0xf])
	}
	o.out = append(o.out, '"')
}

func (o *object) version(name string, v versioning.Version) {
	o.name(name)
	o.out = append(o.out, '"')
	o.out = v.AppendString(o.out)
	o.out = append(o.out, '"')
}

func (o *object) digest(name string, d versioning.Digest) {
	if o.lastDigest != d {
		o.lastDigest, o.digestLen = d, copy(o.digestText[:], d.AppendString(o.digestText[:0]))
	}
	o.name(name)
	o.out = append(o.out, '"')
	o.out = append(o.out, o.digestText[:o.digestLen]...)
	o.out = append(o.out, '"')
}

// time appends a time. One that RFC 3339 cannot write is an error.
func (o *object) time(name string, t time.Time) {
	if o.timeLen == 0 || o.lastTime != t {
		text, err := t.AppendText(o.timeText[:0])
		if err != nil && o.err == nil {
			o.err = err
		}
		o.lastTime, o.timeLen = t, copy(o.timeText[:], text)
	}
	o.name(name)
	o.out = append(o.out, '"')
	o.out = append(o.out, o.timeText[:o.timeLen]...)
	o.out = append(o.out, '"')
}

func (o *object) end() ([]byte, error) { return append(o.out, '}'), o.err }

// plain are the bytes that stand in a JSON string as they are.
var plain = func() (plain [256]bool) { //nolint:gochecknoglobals // a constant that the language cannot express as one
	for c := byte(' '); c < 0x7f; c++ {
		plain[c] = !strings.ContainsRune(`"\<>&`, rune(c))
	}
	return plain
}()

// appendString appends a JSON string. What is not plain ASCII is left to
// encoding/json.
func appendString(out []byte, s string) []byte {
	for i := range len(s) {
		if !plain[s[i]] {
			quoted, _ := json.Marshal(s) // a string never fails
			return append(out, quoted...)
		}
	}
	out = append(out, '"')
	out = append(out, s...)
	return append(out, '"')
}

func (o *object) settlement(s *events.Settlement) {
	o.version(`,"version":`, s.Version)
	if !s.Digest.IsZero() {
		o.digest(`,"digest":`, s.Digest)
	}
	o.strIfAny(`,"id":`, s.ID)
	o.str(`,"outcome":`, string(s.Outcome))
	o.intIfAny(`,"attempts":`, int64(s.Attempts))
	if !s.By.IsZero() {
		o.version(`,"by":`, s.By)
	}
	o.strIfAny(`,"class":`, s.Class)
	o.strIfAny(`,"code":`, s.Code)
	o.strIfAny(`,"message":`, s.Message)
	o.time(`,"at":`, s.At)
	o.strIfAny(`,"response":`, s.Response)
}

func (o *object) tag(t versioning.Tag) {
	o.version(`,"version":`, t.Version)
	o.digest(`,"digest":`, t.Digest)
}

func (o *object) entry(e *Entry) {
	outer := o.open()
	o.str(`,"key":`, e.Key)
	o.strIfAny(`,"op":`, string(e.Op))
	from, told := len(o.out), told(e.Settlement)
	o.settlement(&told)
	e.encoded = o.out[from:]
	if told.Response != e.Response {
		o.strIfAny(`,"response":`, e.Response)
	}
	if !e.NextAttempt.IsZero() {
		o.time(`,"next_attempt":`, e.NextAttempt)
	}
	o.intIfAny(`,"trying_ms":`, e.TryingMS)
	o.intIfAny(`,"unready_ms":`, e.UnreadyMS)
	o.trueIf(`,"asked":`, e.Asked)
	o.strIfAny(`,"reply_to":`, e.ReplyTo)
	o.trueIf(`,"reply_lines":`, e.ReplyLines)
	if !e.Held.IsZero() {
		o.version(`,"held":`, e.Held)
	}
	o.trueIf(`,"head":`, e.Head)
	if !e.Open.IsZero() {
		o.version(`,"open":`, e.Open)
	}
	if e.Sequence != 0 {
		o.uint(`,"sequence":`, e.Sequence)
	}
	o.void(e.Void)
	o.refs(e.Refs)
	o.close(outer)
}

func (o *object) refs(r events.Refs) {
	if len(r) == 0 {
		return
	}
	o.name(`,"refs":`)
	outer := o.open()
	for i, name := range slices.Sorted(maps.Keys(r)) {
		if i > 0 {
			o.out = append(o.out, ',')
		}
		o.out = append(appendString(o.out, name), ':')
		o.out = appendString(o.out, r[name])
	}
	o.close(outer)
}

func (o *object) void(v *Void) {
	if v == nil {
		return
	}
	o.name(`,"void":`)
	outer := o.open()
	o.markIfAny(`,"updates":`, v.Updates)
	o.markIfAny(`,"letters":`, v.Letters)
	o.time(`,"at":`, v.At)
	o.close(outer)
}

func (o *object) markIfAny(name string, m Mark) {
	if m == (Mark{}) {
		return
	}
	o.name(name)
	outer := o.open()
	if m.Sequence != 0 {
		o.uint(`,"sequence":`, m.Sequence)
	}
	if !m.Stored.IsZero() {
		o.time(`,"stored":`, m.Stored)
	}
	o.close(outer)
}

// Append appends the stored form of a group to out, which may be nil.
func (g *Group) Append(out []byte) ([]byte, error) {
	o := begin(out)
	o.int(`,"f":`, int64(g.Format))
	o.str(`,"channel":`, g.Channel)
	o.strIfAny(`,"channel_id":`, g.ChannelID)
	o.int(`,"partition":`, int64(g.Partition))
	o.uint(`,"epoch":`, g.Epoch)
	o.uint(`,"n":`, g.Number)
	o.str(`,"worker":`, g.Worker)
	o.time(`,"at":`, g.At)
	o.intIfAny(`,"content":`, int64(g.Content))
	if len(g.Entries) > 0 {
		o.name(`,"entries":`)
		o.out = append(o.out, '[')
		for i := range g.Entries {
			if i > 0 {
				o.out = append(o.out, ',')
			}
			o.entry(&g.Entries[i])
		}
		o.out = append(o.out, ']')
	}
	return finish("outcome log record", o)
}

// AppendAck appends the wire form of an entry's ack to out, which may be nil. It is what
// AppendAck does with NewAck(channel, e.Key, e.Settlement) and the topic, if there is one; where a group with the entry was
// appended before, it takes over what that says of it. Neither the entry nor the memory
// of the group's form may have been changed since.
func (e *Entry) AppendAck(out []byte, channel, topic string) ([]byte, error) {
	if e.encoded == nil {
		ack := NewAck(channel, e.Key, e.Settlement)
		ack.Topic = topic
		return AppendAck(out, ack)
	}
	o := beginAck(out, Format, channel, topic, e.Key)
	o.out = append(o.out, e.encoded...)
	return o.end()
}

func beginAck(out []byte, format int, channel, topic, key string) object {
	o := begin(out)
	o.int(`,"f":`, int64(format))
	o.str(`,"channel":`, channel)
	o.strIfAny(`,"topic":`, topic)
	o.str(`,"key":`, key)
	return o
}

// AppendAck appends the wire form of an ack to out, which may be nil.
func AppendAck(out []byte, a events.Ack) ([]byte, error) {
	o := beginAck(out, a.Format, a.Channel, a.Topic, a.Key)
	o.settlement(&a.Settlement)
	return finish("ack", o)
}

// Append appends the stored form of a record to out, which may be nil.
func (r *Record) Append(out []byte) ([]byte, error) {
	o := begin(out)
	o.int(`,"f":`, int64(r.Format))
	o.str(`,"key":`, r.Key)
	o.incarnation(`,"incarnation":`, r.Incarnation)
	o.uint(`,"seq":`, r.Seq)
	o.strIfAny(`,"channel_id":`, r.ChannelID)
	if !r.Applied.IsZero() {
		o.name(`,"applied":`)
		outer := o.open()
		o.tag(r.Applied.Tag)
		o.strIfAny(`,"op":`, string(r.Applied.Op))
		o.time(`,"at":`, r.Applied.At)
		o.close(outer)
	}
	o.refs(r.Refs)
	o.intIfAny(`,"content":`, int64(r.Content))
	o.tagIfAny(`,"settled":`, r.Settled)
	o.tagIfAny(`,"head":`, r.Head)
	if !r.Open.IsZero() {
		o.version(`,"open":`, r.Open)
	}
	if len(r.Recent) > 0 {
		o.name(`,"recent":`)
		o.out = append(o.out, '[')
		for i := range r.Recent {
			if i > 0 {
				o.out = append(o.out, ',')
			}
			outer := o.open()
			o.settlement(&r.Recent[i])
			o.close(outer)
		}
		o.out = append(o.out, ']')
	}
	o.str(`,"state":`, string(r.State))
	o.tagIfAny(`,"pending":`, r.Pending)
	o.intIfAny(`,"attempts":`, int64(r.Attempts))
	if !r.NextAttempt.IsZero() {
		o.time(`,"next_attempt":`, r.NextAttempt)
	}
	if r.Error != nil {
		o.name(`,"error":`)
		outer := o.open()
		o.strIfAny(`,"class":`, r.Error.Class)
		o.strIfAny(`,"code":`, r.Error.Code)
		o.strIfAny(`,"message":`, r.Error.Message)
		o.strIfAny(`,"response":`, r.Error.Response)
		o.close(outer)
	}
	o.intIfAny(`,"trying_ms":`, r.TryingMS)
	o.intIfAny(`,"unready_ms":`, r.UnreadyMS)
	o.trueIf(`,"asked":`, r.Asked)
	if r.Sequence != 0 {
		o.uint(`,"sequence":`, r.Sequence)
	}
	if r.Former != 0 {
		o.uint(`,"former":`, r.Former)
	}
	o.void(r.Void)
	return finish("ledger record", o)
}

// trueIf writes a field that is left out where it is false.
func (o *object) trueIf(name string, is bool) {
	if is {
		o.name(name)
		o.out = append(o.out, "true"...)
	}
}

func (o *object) tagIfAny(name string, t versioning.Tag) {
	if t.IsZero() {
		return
	}
	o.name(name)
	outer := o.open()
	o.tag(t)
	o.close(outer)
}

func finish(what string, o object) ([]byte, error) {
	out, err := o.end()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return out, nil
}

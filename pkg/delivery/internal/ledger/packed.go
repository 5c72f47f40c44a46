package ledger

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A record that nobody uses is kept packed: in a tenth to a third of the memory, and
// without pointers, so that the garbage collector passes it over. A worker remembers
// thousands of them.

// pack returns the packed form of a record whose encoded key is enc; buffer is
// memory to work in. Records of what is being retried, and others that are rare, are
// not packed. The channel's id is not packed either: it is the same for all.
func pack(buffer []byte, enc string, r *wire.Record) (packed string, grown []byte, ok bool) {
	if r.Format != wire.Format || r.State != wire.StateSettled || !r.Pending.IsZero() ||
		r.Attempts != 0 || r.TryingMS != 0 || r.UnreadyMS != 0 || r.Asked || !r.NextAttempt.IsZero() || r.Error != nil || r.Void != nil {
		return "", buffer, false
	}
	p := packer{out: buffer[:0], ok: true}
	if r.Key == enc {
		p.string("") // as nearly always
	} else {
		p.string(r.Key)
	}
	p.uint(uint64(r.Incarnation))
	p.uint(r.Seq)
	p.uint(r.Sequence)
	p.uint(r.Former)
	p.uint(uint64(r.Content))
	p.int(len(r.Recent))
	for i := range r.Recent {
		p.settlement(&r.Recent[i])
	}
	p.tag(r.Settled, r.Recent)
	p.tag(r.Head, r.Recent)
	p.version(r.Open)
	p.tag(r.Applied.Tag, r.Recent)
	p.string(string(r.Applied.Op))
	p.time(r.Applied.At)
	p.int(len(r.Refs))
	for name, value := range r.Refs {
		p.string(name)
		p.string(value)
	}
	if !p.ok {
		return "", p.out, false
	}
	return string(p.out), p.out, true
}

// unpack is the reverse of pack. The record's texts lie in packed, and its
// settlements where r has had some before: no copy of r may be in use.
func unpack(enc, packed string, r *wire.Record) error {
	u := unpacker{in: packed}
	*r = wire.Record{Format: wire.Format, State: wire.StateSettled, Key: u.string(), Recent: r.Recent[:0]}
	if r.Key == "" {
		r.Key = enc
	}
	r.Incarnation = wire.Incarnation(u.uint())
	r.Seq, r.Sequence, r.Former = u.uint(), u.uint(), u.uint()
	r.Content = wire.ContentID(u.uint()) //nolint:gosec // packed as such
	n := u.int()
	if n < 0 || n > wire.RecentMax {
		return errPacked
	}
	r.Recent = slices.Grow(r.Recent, n)[:n]
	for i := range r.Recent {
		u.settlement(&r.Recent[i])
	}
	r.Settled = u.tag(r.Recent)
	r.Head = u.tag(r.Recent)
	r.Open = u.version()
	r.Applied.Tag = u.tag(r.Recent)
	r.Applied.Op = events.Op(u.string())
	r.Applied.At = u.time()
	r.Refs = u.refs()
	if u.failed || u.in != "" {
		return errPacked
	}
	return nil
}

// errPacked never comes out of what pack has made.
var errPacked = errors.New("a record in memory cannot be read")

// The ways in which a time is packed.
const (
	noTime byte = iota
	millis      // as all that a worker writes
	nanos
)

// The ways in which a tag is packed.
const (
	noTag byte = iota
	ownTag
	recentTag // that of the newest settlement
)

type packer struct {
	out []byte
	ok  bool
}

func (p *packer) byte(b byte)   { p.out = append(p.out, b) }
func (p *packer) uint(n uint64) { p.out = binary.AppendUvarint(p.out, n) }
func (p *packer) varint(n int64) {
	p.out = binary.AppendVarint(p.out, n)
}
func (p *packer) int(n int) { p.varint(int64(n)) }

func (p *packer) string(s string) {
	p.int(len(s))
	p.out = append(p.out, s...)
}

func (p *packer) version(v versioning.Version) {
	p.byte(byte(v.Kind()))
	if n, ok := v.Int64(); ok {
		p.varint(n)
	} else if t, ok := v.AsTime(); ok {
		p.varint(t.Unix())
		p.int(t.Nanosecond())
	}
}

func (p *packer) digest(d versioning.Digest) {
	if d.IsZero() {
		p.byte(0)
		return
	}
	p.byte(1)
	p.out = append(p.out, d[:]...)
}

func (p *packer) time(t time.Time) {
	switch {
	case t.IsZero():
		p.byte(noTime)
	case t.Location() != time.UTC:
		p.ok = false
	case t.Nanosecond()%int(time.Millisecond) == 0:
		p.byte(millis)
		p.varint(t.UnixMilli())
	default:
		p.byte(nanos)
		p.varint(t.Unix())
		p.int(t.Nanosecond())
	}
}

func (p *packer) tag(t versioning.Tag, recent []events.Settlement) {
	switch {
	case t == versioning.Tag{}:
		p.byte(noTag)
	case len(recent) > 0 && t == versioning.Tag{Version: recent[0].Version, Digest: recent[0].Digest}:
		p.byte(recentTag)
	default:
		p.byte(ownTag)
		p.version(t.Version)
		p.digest(t.Digest)
	}
}

func (p *packer) settlement(s *events.Settlement) {
	p.version(s.Version)
	p.digest(s.Digest)
	p.string(s.ID)
	p.string(string(s.Outcome))
	p.int(s.Attempts)
	p.version(s.By)
	p.string(s.Class)
	p.string(s.Code)
	p.string(s.Message)
	p.time(s.At)
	p.string(s.Response)
}

type unpacker struct {
	in     string
	failed bool
}

func (u *unpacker) byte() byte {
	if u.in == "" {
		u.failed = true
		return 0
	}
	b := u.in[0]
	u.in = u.in[1:]
	return b
}

func (u *unpacker) uint() (n uint64) {
	for shift := 0; shift < 64; shift += 7 {
		b := u.byte()
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
	}
	u.failed = true
	return 0
}

func (u *unpacker) varint() int64 {
	n := u.uint()
	return int64(n>>1) ^ -int64(n&1) //nolint:gosec // the encoding of package binary
}

func (u *unpacker) int() int { return int(u.varint()) }

func (u *unpacker) string() string {
	n := u.int()
	if n < 0 || n > len(u.in) {
		u.failed = true
		return ""
	}
	s := u.in[:n]
	u.in = u.in[n:]
	return s
}

func (u *unpacker) version() (v versioning.Version) {
	var err error
	switch versioning.Kind(u.byte()) {
	case versioning.None:
	case versioning.Numbered:
		v, err = versioning.Number(u.varint())
	case versioning.Timed:
		seconds := u.varint()
		v, err = versioning.Time(time.Unix(seconds, u.varint()))
	default:
		u.failed = true
	}
	u.failed = u.failed || err != nil
	return v
}

func (u *unpacker) digest() (d versioning.Digest) {
	if u.byte() == 0 {
		return d
	}
	if len(u.in) < len(d) {
		u.failed = true
		return d
	}
	copy(d[:], u.in)
	u.in = u.in[len(d):]
	return d
}

func (u *unpacker) time() time.Time {
	switch u.byte() {
	case millis:
		return time.UnixMilli(u.varint()).UTC()
	case nanos:
		seconds := u.varint()
		return time.Unix(seconds, u.varint()).UTC()
	default:
		return time.Time{}
	}
}

func (u *unpacker) tag(recent []events.Settlement) versioning.Tag {
	switch u.byte() {
	case recentTag:
		if len(recent) > 0 {
			return versioning.Tag{Version: recent[0].Version, Digest: recent[0].Digest}
		}
		u.failed = true
	case ownTag:
		v := u.version()
		return versioning.Tag{Version: v, Digest: u.digest()}
	}
	return versioning.Tag{}
}

func (u *unpacker) refs() events.Refs {
	n := u.int()
	if n < 0 || n > events.MaxRefs { // each has a name
		u.failed = true
	}
	if n <= 0 || u.failed {
		return nil
	}
	out := make(events.Refs, n)
	for range n {
		name := u.string()
		out[name] = u.string()
	}
	return out
}

func (u *unpacker) settlement(s *events.Settlement) {
	s.Version = u.version()
	s.Digest = u.digest()
	s.ID = u.string()
	s.Outcome = events.Outcome(u.string())
	s.Attempts = u.int()
	s.By = u.version()
	s.Class = u.string()
	s.Code = u.string()
	s.Message = u.string()
	s.At = u.time()
	s.Response = u.string()
}

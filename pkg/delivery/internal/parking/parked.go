package parking

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Headers of a parked update, besides its own.
const (
	headerSequence = "Extsync-Parked-Sequence" // in the channel's stream
	headerDigest   = "Extsync-Parked-Digest"
	headerStored   = "Extsync-Parked-Published" // when the broker stored it there
)

// A Parked update is what names one that was parked; its payload stays at the broker.
type Parked struct {
	Key    string // encoded
	Update events.Update
	Digest versioning.Digest
	Seq    uint64    // in the channel's stream
	Stored time.Time // when the broker stored it there
	At     uint64    // sequence in the parked stream
	Size   int64     // that it takes there, in bytes
}

// A Move is an update that is to be parked.
type Move struct {
	Key    string        // encoded
	Msg    jetstream.Msg // as it came
	Digest versioning.Digest
	Seq    uint64
	Stored time.Time
	Place  string // tells the update from all others of the channel, ever
	// At is its sequence in the parked stream afterwards, Err why it is not there.
	At  uint64
	Err error
}

// Size returns how much of the parked stream an update would take, in bytes.
func (s *Stream) Size(m *Move) int64 {
	msg := s.message(m)
	return wire.StoredSize(msg.Subject, msg.Header, len(msg.Data))
}

// message returns what is stored of an update.
func (s *Stream) message(m *Move) *nats.Msg {
	msg := nats.NewMsg(wire.ParkedUpdate(s.o.Names, s.o.Channel, m.Key))
	msg.Data, msg.Header = m.Msg.Data(), plain.Headers(m.Msg.Headers())
	msg.Header.Set(headerSequence, strconv.FormatUint(m.Seq, 10))
	msg.Header.Set(wire.HeaderChannelID, s.o.ID)
	msg.Header.Set(headerDigest, m.Digest.String())
	msg.Header.Set(headerStored, m.Stored.UTC().Format(time.RFC3339Nano))
	msg.Header.Set(nats.MsgIdHdr, wire.UpdateStream(s.o.Names, s.route)+":"+m.Place+":parked")
	return msg
}

// decode reads what names a parked update. What cannot be read was not put there by a
// worker; it is left out, and so is what is of a former channel of the name, which is
// removed.
func (s *Stream) decode(ctx context.Context, msg jetstream.Msg, key string, at uint64) (Parked, bool) {
	h := msg.Headers()
	if id := h.Get(wire.HeaderChannelID); id != "" && id != s.o.ID {
		s.o.Logger.Warn().Uint64("sequence", at).Msg("a parked update is of a former channel of this name; it is removed")
		go func() { _ = s.Delete(context.WithoutCancel(ctx), at) }() // the next owner finds what stays
		return Parked{}, false
	}
	p := Parked{Key: key, At: at, Size: wire.StoredSize(msg.Subject(), h, wire.PayloadSize(h))}
	var errs [4]error
	p.Update, errs[0] = wire.Decode(s.o.Names, wire.StoredUpdate(s.o.Names, s.route, key), h, nil)
	p.Seq, errs[1] = strconv.ParseUint(h.Get(headerSequence), 10, 64)
	p.Stored, errs[2] = time.Parse(time.RFC3339Nano, h.Get(headerStored))
	errs[3] = p.Digest.UnmarshalText([]byte(h.Get(headerDigest)))
	if err := errors.Join(errs[:]...); err != nil {
		s.o.Logger.Error().Err(err).Uint64("sequence", at).Msg("a message in the parked stream is not a parked update; it is left there")
		return Parked{}, false
	}
	return p, true
}

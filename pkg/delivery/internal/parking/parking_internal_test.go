package parking

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// came is an update as a consumer would bring it.
type came struct {
	jetstream.Msg
	m *nats.Msg
}

func (c *came) Headers() nats.Header { return c.m.Header }
func (c *came) Data() []byte         { return c.m.Data }
func (c *came) Subject() string      { return c.m.Subject }

func newStream(t *testing.T) (*natstest.Broker, *Stream) {
	t.Helper()
	b := natstest.Run(t)
	names := events.DefaultNames()
	testkit.Must(t, channels.Provision(t.Context(), b.JS, names, channels.Storage{}))
	stream, err := b.JS.Stream(t.Context(), wire.ParkedStream(names))
	testkit.Must(t, err)
	return b, New(Options{JS: b.JS, Stream: stream, Names: names, Channel: "cal", ID: "id", Partitions: 1, Logger: zerolog.Nop()})
}

func moveOf(t *testing.T, key string, version int64) Move {
	t.Helper()
	u := events.Update{Channel: "cal", Key: key, Version: testkit.Number(version), Payload: []byte(strconv.FormatInt(version, 10))}
	msg, err := wire.Encode(events.DefaultNames(), u)
	testkit.Must(t, err)
	enc, err := events.EncodeKey(key)
	testkit.Must(t, err)
	at := time.Unix(1_700_000_000, version)
	return Move{Key: enc, Msg: &came{m: msg}, Digest: u.Digest(), Seq: uint64(version), Stored: at, Place: enc + strconv.FormatInt(version, 10)} //nolint:gosec // not negative
}

func move(t *testing.T, s *Stream, moves ...Move) []Move {
	t.Helper()
	mover, err := s.Mover()
	testkit.Must(t, err)
	defer mover.Close()
	mover.Move(t.Context(), moves)
	for i := range moves {
		testkit.Must(t, moves[i].Err)
	}
	return moves
}

func (s *Stream) found(t *testing.T) (out []Parked) {
	t.Helper()
	testkit.Must(t, s.All(t.Context(), func(p Parked) { out = append(out, p) }))
	return out
}

func TestParkedUpdatesAreFoundAgain(t *testing.T) {
	_, s := newStream(t)
	if got := s.found(t); len(got) != 0 {
		t.Fatalf("at first %+v", got)
	}
	moves := move(t, s, moveOf(t, "a", 1), moveOf(t, "b", 2), moveOf(t, "a", 3))
	got := s.found(t)
	if len(got) != len(moves) {
		t.Fatalf("%d are found, want %d", len(got), len(moves))
	}
	for i, p := range got {
		m := moves[i]
		if p.Key != m.Key || p.Seq != m.Seq || !p.Stored.Equal(m.Stored) || p.At != m.At || p.Digest != m.Digest || len(p.Update.Payload) != 0 {
			t.Errorf("%+v, want what was moved, without payload: %+v", p, m)
		}
		content, err := s.Content(t.Context(), p.At)
		if err != nil || string(content.Data) != strconv.FormatUint(m.Seq, 10) {
			t.Errorf("content %q, %v", content.Data, err)
		}
	}
	var ofA []uint64
	testkit.Must(t, s.OfKey(t.Context(), moves[0].Key, moves[0].At+1, 10, func(p Parked) { ofA = append(ofA, p.Seq) }))
	if !slices.Equal(ofA, []uint64{3}) {
		t.Errorf("of key a behind its first: %v, want 3", ofA)
	}
	testkit.Must(t, s.Delete(t.Context(), moves[1].At))
	if _, err := s.Content(t.Context(), moves[1].At); !errors.Is(err, ErrLost) {
		t.Errorf("%v, want %v", err, ErrLost)
	}
	if got := s.found(t); len(got) != 2 {
		t.Errorf("%d are left, want 2", len(got))
	}
}

// An update that is moved twice, because an answer was lost, is parked once; one with the
// same sequence of a stream that was restored is another update.
func TestMovedTwiceIsParkedOnce(t *testing.T) {
	_, s := newStream(t)
	first := move(t, s, moveOf(t, "a", 1))[0]
	if again := move(t, s, moveOf(t, "a", 1))[0]; again.At != first.At {
		t.Errorf("parked at %d and at %d", first.At, again.At)
	}
	other := moveOf(t, "b", 1)
	if other = move(t, s, other)[0]; other.At == first.At {
		t.Error("another update passes as the first")
	}
}

// Of partitions and of channels that had the name before only what is ours is found.
func TestWhatIsNotOursIsLeftOut(t *testing.T) {
	b, s := newStream(t)
	o := s.o
	o.ID = "former"
	move(t, New(o), moveOf(t, "a", 1))
	rubbish := nats.NewMsg(wire.ParkedUpdate(s.o.Names, "cal", "x"))
	rubbish.Header.Set(headerSequence, "many")
	_, err := b.JS.PublishMsg(t.Context(), rubbish)
	testkit.Must(t, err)
	if got := s.found(t); len(got) != 0 {
		t.Errorf("%+v, want nothing", got)
	}
	testkit.Eventually(t, "what is of the former channel to be removed", func() bool {
		info, err := s.o.Stream.Info(t.Context())
		testkit.Must(t, err)
		return info.State.Msgs == 1 // the rubbish stays
	})
	o = s.o
	o.Partitions = 4
	for k := range 16 {
		move(t, s, moveOf(t, "k"+strconv.Itoa(k), 1))
	}
	keys := map[string]int{}
	for p := range o.Partitions {
		o.Partition = p
		for _, found := range New(o).found(t) {
			keys[found.Key]++
			if wire.Partition(found.Key, o.Partitions) != p {
				t.Errorf("key %s is found in partition %d", found.Key, p)
			}
		}
	}
	for k := range 16 {
		if keys["k"+strconv.Itoa(k)] != 1 {
			t.Errorf("the partitions have %v, want each of 16 keys once", keys)
		}
	}
}

func TestMoveWithoutABroker(t *testing.T) {
	b, s := newStream(t)
	mover, err := s.Mover()
	testkit.Must(t, err)
	defer mover.Close()
	b.Conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	moves := []Move{moveOf(t, "a", 1)}
	mover.Move(ctx, moves)
	if moves[0].Err == nil || moves[0].At != 0 {
		t.Errorf("%+v, want an error", moves[0])
	}
}

package wire_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// newStream returns a stream with n messages of 1 to n bytes, alternating on
// s.even and s.odd by their sequence. Every seventh looks like an answer of the
// server.
func newStream(t *testing.T, n int) (*natstest.Broker, jetstream.Stream) {
	t.Helper()
	b := natstest.Run(t)
	stream, err := b.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.*"}, AllowDirect: true})
	if err != nil {
		t.Fatal(err)
	}
	for seq := 1; seq <= n; seq++ {
		msg := nats.NewMsg("s.even")
		if seq%2 == 1 {
			msg.Subject = "s.odd"
		}
		msg.Header.Set("n", fmt.Sprint(seq))
		msg.Data = bytes.Repeat([]byte("x"), seq)
		if seq%7 == 0 {
			msg.Header.Set("Status", []string{"404", "408", "409", "100", "503"}[seq/7%5])
			msg.Data = nil
		}
		if _, err := b.JS.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	return b, stream
}

// read returns the sequences of what ReadStream gives, and checks each message.
func read(t *testing.T, b *natstest.Broker, q wire.StreamQuery) []uint64 {
	t.Helper()
	var got []uint64
	for msg, err := range wire.ReadStream(t.Context(), b.JS, q) {
		if err != nil {
			t.Fatal(err)
		}
		size := int(msg.Sequence)
		if msg.Sequence%7 == 0 {
			size = 0
		}
		if msg.Header.Get("n") != fmt.Sprint(msg.Sequence) {
			t.Fatalf("message %d has headers %v", msg.Sequence, msg.Header)
		}
		if q.HeadersOnly && (len(msg.Data) != 0 || wire.PayloadSize(msg.Header) != size) {
			t.Fatalf("message %d: %d bytes of payload, said to be %d, want %d", msg.Sequence, len(msg.Data), wire.PayloadSize(msg.Header), size)
		}
		if !q.HeadersOnly && len(msg.Data) != size {
			t.Fatalf("message %d: %d bytes of payload, want %d", msg.Sequence, len(msg.Data), size)
		}
		got = append(got, msg.Sequence)
	}
	return got
}

func TestReadStream(t *testing.T) {
	const n = 300 // more than one batch, with payloads and without
	b, stream := newStream(t, n)
	for _, gone := range []uint64{1, 8, 9, 10, 150, 298, 300} {
		if err := stream.DeleteMsg(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
	}
	want := func(keep func(seq uint64) bool) []uint64 {
		var out []uint64
		for seq := uint64(1); seq <= n; seq++ {
			switch seq {
			case 1, 8, 9, 10, 150, 298, 300:
			default:
				if keep(seq) {
					out = append(out, seq)
				}
			}
		}
		return out
	}
	tests := map[string]struct {
		q    wire.StreamQuery
		want []uint64
	}{
		"everything":        {wire.StreamQuery{Subject: "s.*"}, want(func(uint64) bool { return true })},
		"one subject":       {wire.StreamQuery{Subject: "s.odd"}, want(func(s uint64) bool { return s%2 == 1 })},
		"from":              {wire.StreamQuery{Subject: "s.*", From: 140}, want(func(s uint64) bool { return s >= 140 })},
		"from a gap":        {wire.StreamQuery{Subject: "s.*", From: 9}, want(func(s uint64) bool { return s >= 9 })},
		"until":             {wire.StreamQuery{Subject: "s.*", Until: 160}, want(func(s uint64) bool { return s <= 160 })},
		"until a gap":       {wire.StreamQuery{Subject: "s.*", Until: 150}, want(func(s uint64) bool { return s <= 150 })},
		"a part of one":     {wire.StreamQuery{Subject: "s.even", From: 7, Until: 21}, want(func(s uint64) bool { return s%2 == 0 && s >= 7 && s <= 21 })},
		"exactly one":       {wire.StreamQuery{Subject: "s.*", From: 14, Until: 14}, []uint64{14}},
		"only a gap":        {wire.StreamQuery{Subject: "s.*", From: 8, Until: 10}, nil},
		"behind the end":    {wire.StreamQuery{Subject: "s.*", From: 301}, nil},
		"from above until":  {wire.StreamQuery{Subject: "s.*", From: 20, Until: 10}, nil},
		"no such subject":   {wire.StreamQuery{Subject: "s.none"}, nil},
		"since long ago":    {wire.StreamQuery{Subject: "s.*", Since: time.Now().Add(-time.Hour)}, want(func(uint64) bool { return true })},
		"since the future":  {wire.StreamQuery{Subject: "s.*", Since: time.Now().Add(time.Hour)}, nil},
		"until far too far": {wire.StreamQuery{Subject: "s.*", From: 290, Until: 1 << 40}, want(func(s uint64) bool { return s >= 290 })},
	}
	for name, tt := range tests {
		for way := range 4 {
			q := tt.q
			q.Stream, q.HeadersOnly, q.Consumer = "S", way&1 != 0, way&2 != 0
			t.Run(fmt.Sprintf("%s, headers only: %t, consumer: %t", name, q.HeadersOnly, q.Consumer), func(t *testing.T) {
				if got := read(t, b, q); fmt.Sprint(got) != fmt.Sprint(tt.want) {
					t.Errorf("got  %v\nwant %v", got, tt.want)
				}
			})
		}
	}
	// Nothing is left at the broker.
	info, err := stream.Info(t.Context())
	if err != nil || info.State.Consumers != 0 {
		t.Errorf("%d consumers are left, %v", info.State.Consumers, err)
	}
}

// ways are those in which a stream is read: from its leader, and through a consumer.
func ways(t *testing.T, do func(t *testing.T, consumer bool)) {
	t.Helper()
	for _, consumer := range []bool{false, true} {
		t.Run(fmt.Sprintf("consumer: %t", consumer), func(t *testing.T) { do(t, consumer) })
	}
}

func TestReadStreamSince(t *testing.T) {
	const n = 400 // far more than are read at once
	b, stream := newStream(t, n)
	ways(t, func(t *testing.T, consumer bool) {
		for _, first := range []uint64{1, 12, 199, 398, n} {
			msg, err := stream.GetMsg(t.Context(), first)
			if err != nil {
				t.Fatal(err)
			}
			for subject, want := range map[string]uint64{"s.*": n - first + 1, "s.odd": (n - first + 1) / 2} {
				got := read(t, b, wire.StreamQuery{Stream: "S", Subject: subject, Since: msg.Time, Consumer: consumer})
				if uint64(len(got)) != want || want > 0 && got[0] > first+1 || want > 0 && got[0] < first {
					t.Errorf("since message %d on %s: %v", first, subject, got)
				}
			}
		}
	})
}

func TestReadStreamStopsEarly(t *testing.T) {
	b, stream := newStream(t, 50)
	ways(t, func(t *testing.T, consumer bool) {
		for msg, err := range wire.ReadStream(t.Context(), b.JS, wire.StreamQuery{Stream: "S", Subject: "s.*", Consumer: consumer}) {
			if err != nil {
				t.Fatal(err)
			}
			if msg.Sequence == 5 {
				break
			}
		}
		info, err := stream.Info(t.Context())
		if err != nil || info.State.Consumers != 0 {
			t.Errorf("%d consumers are left, %v", info.State.Consumers, err)
		}
	})
}

func TestReadStreamErrors(t *testing.T) {
	b, _ := newStream(t, 50)
	ways(t, func(t *testing.T, consumer bool) {
		count := func(ctx context.Context, q wire.StreamQuery, each func()) (n int, last error) {
			q.Consumer = consumer
			for _, err := range wire.ReadStream(ctx, b.JS, q) {
				if last != nil {
					t.Fatal("something came after an error")
				}
				if last = err; err == nil {
					n++
					each()
				}
			}
			return n, last
		}
		if _, err := count(t.Context(), wire.StreamQuery{Stream: "NONE", Subject: "s.*"}, func() {}); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("no such stream: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		// Ended in the midst of the first batch, it may give the rest of that batch.
		if n, err := count(ctx, wire.StreamQuery{Stream: "S", Subject: "s.*"}, cancel); !errors.Is(err, context.Canceled) || n == 50 {
			t.Errorf("after the context ended: %d messages, %v", n, err)
		}
	})
}

// A list of a bucket must not leave out an entry because it was written again while the
// list was made.
func TestReadStreamToItsEndMissesNoRecordThatIsReplaced(t *testing.T) {
	b := natstest.Run(t)
	if _, err := b.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.*"}, MaxMsgsPerSubject: 1}); err != nil {
		t.Fatal(err)
	}
	const keys = 100
	write := func(ctx context.Context, i int) error {
		_, err := b.JS.Publish(ctx, fmt.Sprintf("s.%d", i%keys), nil)
		return err
	}
	for i := range keys {
		if err := write(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan error, 1)
	go func() {
		var err error
		for i := 0; err == nil; i += 7 {
			err = write(ctx, i)
		}
		written <- err
	}()
	for range 50 {
		seen := map[string]bool{}
		for msg, err := range wire.ReadStream(t.Context(), b.JS, wire.StreamQuery{Stream: "S", Subject: "s.*", Until: math.MaxUint64}) {
			if err != nil {
				t.Fatal(err)
			}
			seen[msg.Subject] = true
			if len(seen) == keys { // as long as somebody writes there is no end
				break
			}
		}
		if len(seen) != keys {
			t.Fatalf("%d of %d records came", len(seen), keys)
		}
	}
	stop()
	if err := <-written; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestReadFromLeader(t *testing.T) {
	b, stream := newStream(t, 20)
	if err := stream.DeleteMsg(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		q    wire.MessageQuery
		want uint64
		err  error
	}{
		"the last":                 {q: wire.MessageQuery{LastOn: "s.even"}, want: 20},
		"the last of all":          {q: wire.MessageQuery{LastOn: "s.*"}, want: 20},
		"the next":                 {q: wire.MessageQuery{NextOn: "s.odd", Sequence: 4}, want: 7},
		"by sequence":              {q: wire.MessageQuery{Sequence: 7}, want: 7},
		"like a server's answer":   {q: wire.MessageQuery{Sequence: 14}, want: 14},
		"deleted":                  {q: wire.MessageQuery{Sequence: 5}, err: jetstream.ErrMsgNotFound},
		"none after":               {q: wire.MessageQuery{NextOn: "s.odd", Sequence: 20}, err: jetstream.ErrMsgNotFound},
		"nothing on that subject":  {q: wire.MessageQuery{LastOn: "s.none"}, err: jetstream.ErrMsgNotFound},
		"a sequence not there yet": {q: wire.MessageQuery{Sequence: 21}, err: jetstream.ErrMsgNotFound},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			msg, err := wire.ReadFromLeader(t.Context(), b.JS, "S", tt.q)
			if tt.err != nil {
				if !errors.Is(err, tt.err) {
					t.Errorf("error = %v, want %v", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			direct, err := stream.GetMsg(t.Context(), tt.want)
			if err != nil && tt.want%7 != 0 { // nats.go cannot read those itself
				t.Fatal(err)
			}
			if msg.Sequence != tt.want || msg.Header.Get("n") != fmt.Sprint(tt.want) {
				t.Errorf("got %d with %v, want %d", msg.Sequence, msg.Header, tt.want)
			}
			if direct != nil && (!msg.Time.Equal(direct.Time) || msg.Subject != direct.Subject || !bytes.Equal(msg.Data, direct.Data)) {
				t.Errorf("got %+v, want %+v", msg, direct)
			}
		})
	}
	if _, err := wire.ReadFromLeader(t.Context(), b.JS, "NONE", wire.MessageQuery{Sequence: 1}); !errors.Is(err, events.ErrUnknownChannel) {
		t.Errorf("no such stream: %v, want ErrUnknownChannel", err)
	}
	b.Stop(t)
	if _, err := wire.ReadFromLeader(t.Context(), b.JS, "S", wire.MessageQuery{Sequence: 1}); !wire.IsUnavailable(err) {
		t.Errorf("no broker: %v", err)
	}
}

// Others may remove messages meanwhile; those that stay must come all the same.
func TestReadStreamWhileMessagesAreRemoved(t *testing.T) {
	ways(t, readWhileMessagesAreRemoved)
}

func readWhileMessagesAreRemoved(t *testing.T, consumer bool) {
	const n = 2000
	b, stream := newStream(t, n)
	removed := make(chan error, 1)
	go func() {
		for seq := uint64(2); seq <= n; seq += 2 {
			if err := stream.DeleteMsg(t.Context(), seq); err != nil {
				removed <- err
				return
			}
		}
		removed <- nil
	}()
	for done := false; !done; {
		select {
		case err := <-removed:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		default:
		}
		odd := 0
		for _, seq := range read(t, b, wire.StreamQuery{Stream: "S", Subject: "s.*", HeadersOnly: true, Consumer: consumer}) {
			odd += int(seq % 2)
		}
		if odd != n/2 {
			t.Fatalf("%d of the %d messages that stay came", odd, n/2)
		}
	}
}

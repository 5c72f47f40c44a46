package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/publish"
)

const (
	eventStreamType = "text/event-stream"
	// heartbeat keeps balancers from cutting the connection, and is when a revoked
	// token is noticed.
	heartbeat = 10 * time.Second
	// lookSoon is after how long a reader that has heard of an ack looks again.
	lookSoon = 5 * time.Millisecond
)

type acksInput struct {
	Service string `path:"service" maxLength:"200"`
	LastID  string `header:"Last-Event-ID" doc:"Go on behind this event. Without it, or if the broker does not have the event, everything that is kept (24 hours) comes"`
}

func (s *server) acksRoute() {
	register(s, route{
		id: "follow-acks", method: http.MethodGet, path: "/v1/acks/{service}", tag: "Acks",
		summary: "Follow the acks of a service, as server-sent events", rule: read, status: http.StatusOK,
		responses: map[string]*huma.Response{"200": {
			Description: "Events of type ack, with an id to go on behind and the ack as JSON. Every reader gets all of them",
			Content:     map[string]*huma.MediaType{eventStreamType: {Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
	}, func(ctx context.Context, in *acksInput) (*huma.StreamResponse, error) {
		subject, err := s.o.Client.Names.ServiceAcks(in.Service)
		if err != nil {
			return nil, err
		}
		f, err := s.openAcks(ctx, subject, parseAckID(in.LastID))
		if err != nil {
			return nil, fmt.Errorf("read the acks: %w", err)
		}
		return &huma.StreamResponse{Body: func(hctx huma.Context) {
			defer f.close()
			_, w := humago.Unwrap(hctx)
			if err := s.followAcks(hctx.Context(), w, f); err != nil {
				s.o.Logger.Debug().Err(err).Str("service", in.Service).Msg("acks are followed no more")
			}
		}}, nil
	})
}

// An ackID names a message with acks. The stream may be made anew, or come back as it
// was before: then the sequence is that of another message, and the time tells.
type ackID struct {
	seq uint64 // 0: none
	at  int64  // Unix time, in nanoseconds
}

func idOf(m *jetstream.RawStreamMsg) ackID { return ackID{m.Sequence, m.Time.UnixNano()} }

// String returns the id as an event has it.
func (id ackID) String() string { return fmt.Sprintf("%d-%d", id.seq, id.at) }

// parseAckID returns the zero id for what is not one: no message has it, so that
// everything comes.
func parseAckID(text string) ackID {
	seq, at, _ := strings.Cut(text, "-")
	var id ackID
	var err, err2 error
	id.seq, err = strconv.ParseUint(seq, 10, 64)
	id.at, err2 = strconv.ParseInt(at, 10, 64)
	if err != nil || err2 != nil {
		return ackID{}
	}
	return id
}

// A following is a reader's place in the stream of acks. It reads from the leader and
// makes no consumer: resuming is up to the client's Last-Event-ID, and a reader that may
// not see every channel takes nothing away from another.
type following struct {
	subject string
	created time.Time     // when the stream was made
	last    ackID         // what the client has, zero for nothing
	heard   chan struct{} // gets a value when a worker sends an ack
	sub     *nats.Subscription
}

func (f *following) close() { _ = f.sub.Unsubscribe() } // the connection may be closed

// openAcks begins behind the message with this id, and from the oldest if the stream
// does not have it: an ack may repeat, but none is left out.
func (s *server) openAcks(ctx context.Context, subject string, behind ackID) (*following, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	stream, err := s.o.Client.JS.Stream(ctx, wire.AckStream(s.o.Client.Names))
	if err != nil {
		return nil, err
	}
	f := &following{subject: subject, created: stream.CachedInfo().Created, heard: make(chan struct{}, 1)}
	if behind.seq != 0 {
		msg, err := wire.ReadFromLeader(ctx, s.o.Client.JS, wire.AckStream(s.o.Client.Names), wire.MessageQuery{Sequence: behind.seq})
		switch {
		case err == nil && idOf(msg) == behind:
			f.last = behind
		case err != nil && !errors.Is(err, jetstream.ErrMsgNotFound):
			return nil, err
		}
	}
	f.sub, err = s.o.Client.JS.Conn().Subscribe(subject, func(*nats.Msg) {
		select {
		case f.heard <- struct{}{}:
		default:
		}
	})
	return f, err
}

// next waits for the next message with acks; nil: none came in time. Workers are heard
// before the broker has stored what they send, and may not be heard at all: it looks soon
// after it heard something, and rarely while it did not.
func (s *server) next(ctx context.Context, f *following) (*jetstream.RawStreamMsg, error) {
	over := time.NewTimer(heartbeat)
	defer over.Stop()
	waited := false
	for pause := lookSoon; ; pause *= 2 {
		msg, err := wire.ReadFromLeader(ctx, s.o.Client.JS, wire.AckStream(s.o.Client.Names), wire.MessageQuery{NextOn: f.subject, Sequence: f.last.seq + 1})
		switch {
		case err == nil && waited: // it may be of a stream that was made anew meanwhile
			return msg, s.checkAcks(ctx, f)
		case err == nil:
			return msg, nil
		case !errors.Is(err, jetstream.ErrMsgNotFound) && !wire.IsUnavailable(err):
			return nil, err
		}
		waited = true
		again := time.NewTimer(min(pause, heartbeat))
		select {
		case <-ctx.Done():
			again.Stop()
			return nil, ctx.Err()
		case <-over.C:
			again.Stop()
			return nil, s.checkAcks(ctx, f)
		case <-f.heard:
			pause = lookSoon
		case <-again.C:
		}
		again.Stop()
	}
}

// errMoved says that the stream is no longer the one that was read.
var errMoved = errors.New("the stream of acks was lost, and a reader has to look where it is")

// checkAcks returns errMoved if the stream is not what it was, or has not got as far.
func (s *server) checkAcks(ctx context.Context, f *following) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	stream, err := s.o.Client.JS.Stream(ctx, wire.AckStream(s.o.Client.Names))
	if err != nil {
		return nil //nolint:nilerr // the broker is away: nothing comes, and nothing is missed
	}
	if info := stream.CachedInfo(); !info.Created.Equal(f.created) || info.State.LastSeq < f.last.seq {
		return errMoved
	}
	return nil
}

// followAcks returns when the client has gone, its token is no longer valid, the
// stream was made anew, or the process ends: clients connect again with the last id
// they have seen.
func (s *server) followAcks(ctx context.Context, w http.ResponseWriter, f *following) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.o.Draining, cancel)()
	send := beginEvents(w)
	if err := send(": acks follow\n\n"); err != nil {
		return err
	}
	c := callerOf(ctx)
	for {
		msg, err := s.next(ctx, f)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !s.valid(c):
			return errInvalidated
		case err == nil && msg == nil:
			err = send(": still here\n\n")
		case err == nil:
			err = s.sendAck(c, f, msg, send)
		}
		if err != nil {
			return err
		}
	}
}

// sendAck sends the acks of a message.
func (s *server) sendAck(c *caller, f *following, msg *jetstream.RawStreamMsg, send func(string) error) error {
	f.last = idOf(msg)
	var out []string
	for ack, err := range publish.DecodeAcks(msg.Data) {
		if err != nil || !c.allows(ack.Channel) {
			continue // nobody can read it, or this one may not
		}
		data, err := json.Marshal(ack)
		if err != nil {
			return err
		}
		out = append(out, "event: ack\ndata: "+string(data)+"\n\n")
	}
	if len(out) == 0 {
		return nil
	}
	// Only the last one has the id: who is cut off before it gets all of them again.
	last := len(out) - 1
	out[last] = "id: " + f.last.String() + "\n" + out[last]
	return send(strings.Join(out, ""))
}

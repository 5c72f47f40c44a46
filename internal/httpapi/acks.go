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
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

const (
	eventStreamType = "text/event-stream"
	// heartbeat keeps balancers from cutting the connection, and is when a revoked
	// token is noticed.
	heartbeat = 10 * time.Second
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
		subject, err := s.o.Names.ServiceAcks(in.Service)
		if err != nil {
			return nil, err
		}
		f, err := s.openAcks(ctx, subject, parseAckID(in.LastID))
		if err != nil {
			return nil, fmt.Errorf("read the acks: %w", err)
		}
		return &huma.StreamResponse{Body: func(hctx huma.Context) {
			defer f.it.Stop()
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

func idOf(m *jetstream.MsgMetadata) ackID { return ackID{m.Sequence.Stream, m.Timestamp.UnixNano()} }

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

// A following is a reader's place in the stream of acks.
type following struct {
	it       jetstream.MessagesContext
	consumer string    // the broker's name for the reader; "" until it gives a message
	created  time.Time // when the stream was made
	last     ackID     // what the client has, zero for nothing
}

// openAcks begins behind the message with this id, and from the oldest if the stream
// does not have it: an ack may repeat, but none is left out.
func (s *server) openAcks(ctx context.Context, subject string, behind ackID) (*following, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	stream, err := s.o.JS.Stream(ctx, s.o.Names.AckStream())
	if err != nil {
		return nil, err
	}
	f := &following{created: stream.CachedInfo().Created}
	// A consumer of its own, not the service's durable one: resuming is up to the
	// client's Last-Event-ID, and a reader that may not see every channel takes nothing
	// away from another.
	open := func(config jetstream.OrderedConsumerConfig) (jetstream.Consumer, error) {
		config.FilterSubjects = []string{subject}
		return stream.OrderedConsumer(ctx, config)
	}
	if behind.seq != 0 {
		// From the message itself on, which shows that it is there.
		consumer, err := open(jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: behind.seq})
		if err != nil {
			return nil, err
		}
		if consumer.CachedInfo().NumPending > 0 {
			if f.it, err = consumer.Messages(); err != nil {
				return nil, err
			}
			msg, err := events.NextMessage(ctx, f.it)
			if err != nil {
				f.it.Stop()
				return nil, err
			}
			if meta, err := msg.Metadata(); err == nil && idOf(meta) == behind {
				f.last, f.consumer = behind, meta.Consumer
				return f, nil
			}
			f.it.Stop()
		}
	}
	consumer, err := open(jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return nil, err
	}
	f.it, err = consumer.Messages()
	return f, err
}

// errMoved says that the stream is no longer the one that was read.
var errMoved = errors.New("the stream of acks was lost, and a reader has to look where it is")

// checkAcks returns errMoved if the stream is not what it was, or has not got as far.
func (s *server) checkAcks(ctx context.Context, f *following) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	stream, err := s.o.JS.Stream(ctx, s.o.Names.AckStream())
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
	w.Header().Set("Content-Type", eventStreamType)
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	send := func(text string) error {
		_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // the server's writer can
		if _, err := w.Write([]byte(text)); err != nil {
			return err
		}
		return rc.Flush()
	}
	if err := send(": acks follow\n\n"); err != nil {
		return err
	}
	c := callerOf(ctx)
	for {
		next, stop := context.WithTimeout(ctx, heartbeat)
		msg, err := events.NextMessage(next, f.it)
		stop()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case c.token != nil && !s.o.Tokens.Valid(c.token.ID):
			return errors.New("the token is no longer valid")
		case err == nil:
			err = s.sendAck(c, f, msg, send)
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, jetstream.ErrNoHeartbeat):
			if err = s.checkAcks(ctx, f); err == nil {
				err = send(": still here\n\n")
			}
		}
		if err != nil {
			return err
		}
	}
}

// sendAck sends the acks of a message.
func (s *server) sendAck(c *caller, f *following, msg jetstream.Msg, send func(string) error) error {
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	if f.consumer == "" {
		f.consumer = meta.Consumer
	}
	if meta.Consumer != f.consumer {
		// The client library has made another, behind the sequence of the last message:
		// in a stream that was lost since, this is another one. openAcks will see.
		return errMoved
	}
	f.last = idOf(meta)
	var out []string
	for ack, err := range events.DecodeAcks(msg.Data()) {
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

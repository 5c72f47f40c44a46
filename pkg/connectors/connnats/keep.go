package connnats

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Headers of a message that are not those of events.
const (
	headerDigest = "ce-entitydigest"
	// headerOperation tells readers of a bucket what became of the key.
	headerOperation = "KV-Operation"
	kvDelete        = "DEL"
	kvPurge         = "PURGE"
)

// mostRounds is how often a message that is not the last one any more is read again in one
// attempt. Others write the key, and the engine never does so twice at once.
const mostRounds = 8

// A keeper writes to a bucket or a stream. It is safe for concurrent use.
type keeper struct {
	link    *link
	bucket  bool
	stream  string // of the bucket, too
	subject string // before the key
	way     string // before the subject of a write: the way into the bucket's domain
	adopt   bool
	readers int
}

var (
	_ connectors.Connector = (*keeper)(nil)
	_ connectors.Prober    = (*keeper)(nil)
	_ connectors.Reader    = (*keeper)(nil)
	_ connectors.Comparer  = (*keeper)(nil)
	_ connectors.Previewer = (*keeper)(nil)
)

func newKeeper(cfg Config, env connectors.Env, l *link) *keeper {
	k := &keeper{link: l, stream: cfg.Stream, subject: cfg.Subject + ".", adopt: cfg.Adopt, readers: max(1, env.Concurrency)}
	if cfg.Mode == bucketMode {
		k.bucket, k.stream, k.subject = true, "KV_"+cfg.Bucket, "$KV."+cfg.Bucket+"."+cfg.KeyPrefix
		if cfg.Domain != "" {
			k.way = "$JS." + cfg.Domain + ".API." // $KV alone is the bucket of the server's own domain
		}
	}
	return k
}

// Apply writes each attempt and says what came of it.
func (k *keeper) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	return connkit.OneByOne(ctx, attempts, k.apply)
}

func (k *keeper) apply(ctx context.Context, a *connectors.Attempt) connectors.Result {
	token, err := events.EncodeKey(a.Key)
	if err != nil {
		return connectors.Unasked("key", err)
	}
	ctx, end := k.link.begin(ctx)
	defer end()
	s, err := k.link.get(ctx)
	if err != nil {
		return failed(ctx, err)
	}
	subject := k.subject + token
	var last found
	look := a.Held || a.Unsure || a.Again || a.Number > 1 // else it is probably new
	for range mostRounds {
		if look {
			if last, err = k.last(ctx, s, subject); err != nil {
				return failed(ctx, err)
			}
			if res, decided := k.judge(a, last); decided {
				return res
			}
		}
		err = k.write(ctx, s, subject, a, last.sequence)
		switch {
		case err == nil:
			return connectors.Done()
		case !isOvertaken(err):
			return failed(ctx, err)
		}
		look = true
	}
	return connectors.Failed(connectors.Transient, "contended", errors.New("others wrote the key again and again meanwhile"))
}

// judge returns the result of an attempt that is not to be written, by what is there.
func (k *keeper) judge(a *connectors.Attempt, last found) (res connectors.Result, decided bool) {
	if last.foreign && !k.adopt {
		return connectors.Failed(connectors.Conflict, "foreign", errors.New("the message there was not written by the platform; adopt: true takes over what has no version")), true
	}
	res.Held = last.Tag
	verdict, err := versioning.Guard(last.Tag, versioning.Tag{Version: a.Version, Digest: a.Digest}, versioning.Version{})
	switch verdict {
	case versioning.Newer:
		return res, false
	case versioning.Duplicate:
		return connectors.Done(), !a.Again
	case versioning.Stale:
		res.Class, res.Code, res.Err = connectors.Stale, "stale", fmt.Errorf("version %s is there, which is newer", last.Version)
	case versioning.Conflict:
		res.Class, res.Code, res.Err = connectors.Conflict, "conflict", fmt.Errorf("version %s is there with another content", last.Version)
	default:
		res.Class, res.Code, res.Err = connectors.Conflict, "version-kind", fmt.Errorf("a version of another kind is there: %w", err)
	}
	return res, true
}

// message returns what an attempt writes.
func (k *keeper) message(subject string, a *connectors.Attempt) *nats.Msg {
	m := nats.NewMsg(k.way + subject)
	m.Data = a.Payload
	m.Header.Set(events.HeaderVersion, a.Version.String())
	m.Header.Set(headerDigest, a.Digest.String())
	m.Header.Set(events.HeaderOp, string(a.Op))
	m.Header.Set(events.HeaderSubject, events.EncodeHeaderKey(a.Key))
	if a.ContentType != "" {
		m.Header.Set(events.HeaderContentType, a.ContentType)
	}
	if a.Op == events.Delete && k.bucket {
		m.Header.Set(headerOperation, kvDelete)
		m.Data = nil
	}
	return m
}

// write writes the attempt if the last message of its subject still has this sequence, 0 if
// there is none.
func (k *keeper) write(ctx context.Context, s *session, subject string, a *connectors.Attempt, last uint64) error {
	m := k.message(subject, a)
	return s.do(ctx, m.Subject, func(ctx context.Context) error {
		_, err := s.js.PublishMsg(ctx, m,
			jetstream.WithExpectStream(k.stream), jetstream.WithExpectLastSequencePerSubject(last), jetstream.WithRetryAttempts(0))
		return err
	})
}

// isOvertaken reports whether a message was not the last one any more.
func isOvertaken(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// A found is the last message of a key, the zero found if there is none.
type found struct {
	connectors.Held
	sequence uint64
	payload  []byte
	foreign  bool // it has no version of the platform's
}

// last returns the last message of a subject.
func (k *keeper) last(ctx context.Context, s *session, subject string) (out found, err error) {
	stream, err := k.lookUp(ctx, s)
	if err != nil {
		return found{}, err
	}
	var m *jetstream.RawStreamMsg
	err = s.do(ctx, subject, func(ctx context.Context) (err error) {
		m, err = stream.GetLastMsgForSubject(ctx, subject)
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return found{}, nil
	case err != nil:
		return found{}, err
	}
	return read(m.Header, m.Sequence, m.Data), nil
}

// lookUp returns the stream, which is looked up once for each connection.
func (k *keeper) lookUp(ctx context.Context, s *session) (jetstream.Stream, error) {
	s.mu.Lock()
	stream := s.stream
	s.mu.Unlock()
	if stream != nil {
		return stream, nil
	}
	err := s.do(ctx, k.stream, func(ctx context.Context) (err error) {
		stream, err = s.js.Stream(ctx, k.stream)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stream = stream
	return stream, nil
}

// read reads a message. What a bucket's own commands have deleted is as if it were not
// there, and so is what the server has removed and left a marker for.
func read(header nats.Header, sequence uint64, payload []byte) found {
	out := found{sequence: sequence, payload: payload}
	deleted := header.Get(headerOperation) == kvDelete || header.Get(headerOperation) == kvPurge || header.Get(jetstream.MarkerReasonHeader) != ""
	version, err := versioning.Parse(header.Get(events.HeaderVersion))
	if err != nil {
		out.foreign = !deleted
		return out
	}
	out.Version, out.Op = version, events.Upsert
	if out.Digest.UnmarshalText([]byte(header.Get(headerDigest))) != nil {
		out.Digest = versioning.Digest{} // no content is like it
	}
	if deleted || header.Get(events.HeaderOp) == string(events.Delete) {
		out.Op = events.Delete
	}
	return out
}

// Probe looks whether the bucket or stream is there.
func (k *keeper) Probe(ctx context.Context) error {
	ctx, end := k.link.begin(ctx)
	defer end()
	s, err := k.link.get(ctx)
	if err == nil {
		err = s.do(ctx, k.stream, func(ctx context.Context) error {
			_, err := s.js.Stream(ctx, k.stream)
			return err
		})
	}
	if err != nil {
		return explain(ctx, err)
	}
	return nil
}

// Preview returns the message that Apply would write.
func (k *keeper) Preview(_ context.Context, a connectors.Attempt) (connectors.Preview, error) {
	token, err := events.EncodeKey(a.Key)
	if err != nil {
		return connectors.Preview{}, err
	}
	m := k.message(k.subject+token, &a)
	headers := map[string]string{jetstream.ExpectedStreamHeader: k.stream, jetstream.ExpectedLastSubjSeqHeader: "that of the last message, 0 if there is none"}
	for name := range m.Header {
		headers[name] = m.Header.Get(name)
	}
	return connectors.Preview{Method: "PUB", URL: m.Subject, Headers: headers, Body: m.Data}, nil
}

// Close ends the connection.
func (k *keeper) Close(ctx context.Context) error {
	k.link.close(ctx)
	return nil
}

// failed returns the result of an attempt that failed.
func failed(ctx context.Context, err error) connectors.Result {
	e := explain(ctx, err)
	return connectors.Failed(e.Class, e.Code, e.Err)
}

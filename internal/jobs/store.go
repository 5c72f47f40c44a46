package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// maxSelection bounds a stored selection: the record is written again every few seconds.
const maxSelection = 128 << 10

// MaxPage bounds a page of List.
const MaxPage = 200

// Store is the jobs at the broker. It is safe for concurrent use.
type Store struct {
	js    jetstream.JetStream
	names events.Names
	kv    jetstream.KeyValue
}

// Open returns the jobs of a provisioned broker, else events.ErrNotProvisioned.
func Open(ctx context.Context, js jetstream.JetStream, names events.Names) (*Store, error) {
	kv, err := js.KeyValue(ctx, wire.JobsBucket(names))
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("%w: bucket %s is missing; apply the channels again", events.ErrNotProvisioned, wire.JobsBucket(names))
	}
	if err != nil {
		return nil, fmt.Errorf("open the jobs: %w", wire.MarkUnavailable(err))
	}
	return &Store{js: js, names: names, kv: kv}, nil
}

// Create stores a new job, which nobody runs yet. It gives it its id and times.
func (s *Store) Create(ctx context.Context, r Record) (Job, error) {
	if data, err := json.Marshal(r.Selection); err != nil || len(data) > maxSelection {
		return Job{}, fmt.Errorf("%w: its selection has %d bytes, which are more than %d: name fewer keys, or select them by a prefix", ErrInvalid, len(data), maxSelection)
	}
	id, err := uuid.NewV7() // the ids of later jobs come later
	if err != nil {
		return Job{}, fmt.Errorf("job: %w", err)
	}
	incarnation, err := wire.ReadIncarnation(ctx, s.js, s.names)
	if err != nil {
		return Job{}, err
	}
	r.Format, r.ID, r.State, r.Incarnation = wire.Format, id.String(), Running, incarnation
	r.Created = time.Now().UTC().Truncate(time.Millisecond)
	r = r.clone()
	_, err = s.write(ctx, &r, 0)
	return r.Job, err
}

// Get returns a job, or ErrNotFound.
func (s *Store) Get(ctx context.Context, id string) (Job, error) {
	r, _, err := s.read(ctx, id)
	return r.Job, err
}

// Stop asks a job to stop. One that has nothing under way, and no runner, is stopped at once;
// another ends after what its runner, or the next one, has in hand. It fails with ErrNotFound or ErrOver.
func (s *Store) Stop(ctx context.Context, id string) (Job, error) {
	for {
		r, revision, err := s.read(ctx, id)
		switch {
		case err != nil:
			return Job{}, err
		case r.State.Over():
			return r.Job, fmt.Errorf("%w: %s is %s", ErrOver, id, r.State)
		case r.State == Stopping:
			return r.Job, nil
		}
		r.State = Stopping
		if r.Holder == "" && len(r.InHand) == 0 && len(r.Keys) == 0 && r.Before == "" && r.Resync == "" {
			r.end(Stopped)
		}
		if _, err = s.write(ctx, &r, revision); !errors.Is(err, errChanged) {
			return r.Job, err
		}
	}
}

// A Page is a part of the list of jobs.
type Page struct {
	Jobs []Job  `json:"jobs"`
	Next string `json:"next,omitempty" doc:"The cursor of the next page; none: this was the last"`
}

// List returns jobs, the latest first: those that allows lets through (nil: all), at most
// limit. cursor is "" or Page.Next of the page before, else it fails with ErrCursor.
func (s *Store) List(ctx context.Context, limit int, cursor string, allows func(channel string) bool) (Page, error) {
	out := Page{Jobs: []Job{}}
	if cursor != "" && uuid.Validate(cursor) != nil {
		return out, fmt.Errorf("%w: %.40q", ErrCursor, cursor)
	}
	found := map[string]Job{}
	for r, err := range s.all(ctx, 0) {
		if err != nil {
			return out, err
		}
		if (cursor == "" || r.ID < cursor) && (allows == nil || allows(r.Channel)) {
			found[r.ID] = r.Job
		}
	}
	for _, j := range found {
		out.Jobs = append(out.Jobs, j)
	}
	slices.SortFunc(out.Jobs, func(a, b Job) int { return strings.Compare(b.ID, a.ID) })
	if limit = min(max(limit, 1), MaxPage); len(out.Jobs) > limit {
		out.Jobs = out.Jobs[:limit]
		out.Next = out.Jobs[limit-1].ID
	}
	return out, nil
}

// Changed returns what differs after any job has begun, changed or gone.
func (s *Store) Changed(ctx context.Context) (Change, error) {
	stream, err := s.js.Stream(ctx, wire.KVStream(wire.JobsBucket(s.names)))
	if err != nil {
		return Change{}, fmt.Errorf("look at the jobs: %w", wire.MarkUnavailable(err))
	}
	info := stream.CachedInfo()
	return Change{info.Created.UnixNano(), info.State.LastSeq, info.State.Msgs}, nil
}

// A Change is to be compared with another one. The zero value is that of no store.
type Change struct {
	made           int64
	last, messages uint64
}

// A stored record has its revision.
type stored struct {
	Record
	revision uint64
}

// all reads the records that were written after a revision. One that cannot be read is passed
// over: it is of a later version of the program.
func (s *Store) all(ctx context.Context, after uint64) func(func(stored, error) bool) {
	return func(yield func(stored, error) bool) {
		bucket := wire.JobsBucket(s.names)
		q := wire.StreamQuery{Stream: wire.KVStream(bucket), Subject: wire.KVSubject(bucket, ">"), From: after + 1, Until: math.MaxUint64}
		for msg, err := range wire.ReadStream(ctx, s.js, q) {
			if err != nil {
				yield(stored{}, err)
				return
			}
			r, err := decode(msg.Data)
			if err != nil || r.ID == "" {
				continue
			}
			r.Updated = msg.Time.UTC()
			if !yield(stored{r, msg.Sequence}, nil) {
				return
			}
		}
	}
}

func decode(data []byte) (Record, error) {
	var r Record
	if len(data) == 0 {
		return r, nil
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("record of a job: %w", err)
	}
	return r.clone(), wire.CheckFormat(r.Format)
}

func (s *Store) read(ctx context.Context, id string) (Record, uint64, error) {
	if uuid.Validate(id) != nil {
		return Record{}, 0, fmt.Errorf("%w: %.40q", ErrNotFound, id)
	}
	e, err := s.kv.Get(ctx, id)
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrInvalidKey) {
		return Record{}, 0, fmt.Errorf("%w: %.40q", ErrNotFound, id)
	}
	if err != nil {
		return Record{}, 0, fmt.Errorf("read job %s: %w", id, wire.MarkUnavailable(err))
	}
	r, err := decode(e.Value())
	r.Updated = e.Created().UTC()
	return r, e.Revision(), err
}

// errChanged says that somebody else has written the record meanwhile.
var errChanged = errors.New("the record has changed")

// write stores a record in the place of the one with a revision; 0: of none.
func (s *Store) write(ctx context.Context, r *Record, revision uint64) (uint64, error) {
	r.Updated = time.Now().UTC().Truncate(time.Millisecond)
	data, err := json.Marshal(r)
	if err != nil {
		return 0, fmt.Errorf("job %s: %w", r.ID, err)
	}
	ctx, cancel := wire.WithDefaultTimeout(ctx)
	defer cancel()
	if revision == 0 {
		revision, err = s.kv.Create(ctx, r.ID, data)
	} else {
		revision, err = s.kv.Update(ctx, r.ID, data, revision)
	}
	if errors.Is(err, jetstream.ErrKeyExists) || wire.IsWrongSequence(err) {
		return 0, fmt.Errorf("%w: job %s", errChanged, r.ID)
	}
	if err != nil {
		return 0, fmt.Errorf("store job %s: %w", r.ID, wire.MarkUnavailable(err))
	}
	return revision, nil
}

// end puts a record into a state in which nobody runs it.
func (r *Record) end(s State) {
	r.State, r.Holder, r.Waits, r.InHand, r.Keys, r.SecondsLeft = s, "", "", nil, nil, nil
	r.Ended = time.Now().UTC().Truncate(time.Millisecond)
}

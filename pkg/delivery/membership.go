package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// mostMembers bounds how many records are read of the workers' bucket. It holds
// those of the last minute.
const mostMembers = 1000

// ErrMembership says that the workers that are alive cannot be listed.
var ErrMembership = errors.New("the live workers cannot be listed")

// A Member is a worker that is alive.
type Member struct {
	ID   string
	Last time.Time // when the broker stored its last announcement, by the broker's clock
}

// Members lists the workers that are alive, by their id. A worker is alive if the
// broker stored its last announcement less than one lease ago, by the broker's
// clock. An error wraps ErrMembership.
func Members(ctx context.Context, js jetstream.JetStream, names events.Names) ([]Member, error) {
	records, err := readMembers(ctx, js, names)
	if err != nil {
		return nil, err
	}
	// Who announces nothing asks the broker for the time: a record that is alone in
	// the bucket is the newest one however old it is.
	stream, err := js.Stream(ctx, events.KVStream(names.WorkersBucket()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMembership, err)
	}
	return alive(records, stream.CachedInfo().TimeStamp), nil
}

// An announcement is what a worker says of itself, four times in each lease.
type announcement struct {
	Format int  `json:"f"`
	TTL    int  `json:"ttl"` // of its leases, in seconds
	Left   bool `json:"left,omitempty"`
}

// encode returns the announcement as the bucket holds it.
func (a announcement) encode() ([]byte, error) {
	a.Format = events.Format
	return json.Marshal(a)
}

// A memberRecord is the newest record of a worker.
type memberRecord struct {
	id       string
	sequence uint64
	stored   time.Time     // by the broker's clock
	ttl      time.Duration // after which it counts no longer; 0: it says that there is no such worker
}

// decodeMember reads a record. What is no announcement, a purge marker for one,
// is no worker; only one of a newer format is an error.
func decodeMember(id string, msg *jetstream.RawStreamMsg) (memberRecord, error) {
	rec := memberRecord{id: id, sequence: msg.Sequence, stored: msg.Time}
	var a announcement
	if err := json.Unmarshal(msg.Data, &a); err != nil || a.Format < 1 {
		return rec, nil
	}
	if err := events.CheckFormat(a.Format); err != nil {
		return rec, fmt.Errorf("announcement of worker %.64s: %w", id, err)
	}
	if ttl := time.Duration(a.TTL) * time.Second; !a.Left && ttl > 0 && ttl <= MaxLeaseTTL {
		rec.ttl = ttl
	}
	return rec, nil
}

// alive returns the workers that are alive at a time of the broker's clock. That
// a record is there proves nothing: a broker that was killed brings back records
// that were gone, with the time of then. One from the future counts as little:
// the broker's clock was set back.
func alive(records []memberRecord, now time.Time) []Member {
	var out []Member
	for _, r := range records {
		if now.Sub(r.stored).Abs() < r.ttl {
			out = append(out, Member{ID: r.id, Last: r.stored})
		}
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// newest returns the time of the newest record, whatever it says.
func newest(records []memberRecord) time.Time {
	if len(records) == 0 {
		return time.Time{}
	}
	return slices.MaxFunc(records, func(a, b memberRecord) int {
		if a.sequence < b.sequence {
			return -1
		}
		return 1
	}).stored
}

// readMembers reads the newest record of every worker from the leader: replicas
// can bring back different ones. A worker that announces itself meanwhile is met
// again further up, so none is missed.
func readMembers(ctx context.Context, js jetstream.JetStream, names events.Names) ([]memberRecord, error) {
	stream, prefix := events.KVStream(names.WorkersBucket()), events.KVSubject(names.WorkersBucket(), "")
	byID := map[string]memberRecord{}
	q := events.MessageQuery{NextOn: prefix + ">", Sequence: 1}
	for reads := 0; ; reads++ {
		if reads == mostMembers {
			return nil, fmt.Errorf("%w: %s holds more than %d records; run 'extsync channels apply' to bring it up to date", ErrMembership, stream, mostMembers)
		}
		msg, err := events.ReadFromLeader(ctx, js, stream, q)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMembership, err)
		}
		id := strings.TrimPrefix(msg.Subject, prefix)
		if byID[id], err = decodeMember(id, msg); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMembership, err)
		}
		q.Sequence = msg.Sequence + 1
	}
	records := make([]memberRecord, 0, len(byID))
	for _, r := range byID {
		records = append(records, r)
	}
	return records, nil
}

// membership is one worker's place among those that are alive.
type membership struct {
	js    jetstream.JetStream
	names events.Names
	id    string
	// within bounds each step.
	within time.Duration
}

// announce stores what the worker says of itself.
func (m *membership) announce(ctx context.Context, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, m.within)
	defer cancel()
	msg := &nats.Msg{Subject: events.KVSubject(m.names.WorkersBucket(), m.id), Data: data}
	if _, err := m.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0)); err != nil {
		return fmt.Errorf("announce the worker: %w", err)
	}
	return nil
}

// read lists the workers that are alive, after the worker has announced itself:
// its own record is then the measure for all others, the same for whoever reads.
func (m *membership) read(ctx context.Context) ([]Member, error) {
	ctx, cancel := context.WithTimeout(ctx, m.within)
	defer cancel()
	records, err := readMembers(ctx, m.js, m.names)
	if err != nil {
		return nil, err
	}
	return alive(records, newest(records)), nil
}

// Package workers knows what a connector-worker announces of itself in the bucket
// of workers: the engine writes it, everybody else reads it. A stored record never
// proves that its worker is alive: Alive says when it counts.
package workers

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/why"
)

const (
	// MaxBytes bounds an encoded record. A worker stores one each second or so, and
	// everybody who wants to know reads those of all workers.
	MaxBytes = 32 << 10
	// maxMessage bounds the message of a wait, in bytes.
	maxMessage = 300
	maxName    = 255
)

// ErrRecord says that a stored record cannot be read.
var ErrRecord = errors.New("invalid worker record")

// A Record is what a worker announces of itself.
type Record struct {
	Format  int       `json:"f"`
	Worker  string    `json:"worker"`
	Host    string    `json:"host,omitempty"`
	PID     int       `json:"pid,omitempty"`
	Version string    `json:"version,omitempty"` // of the program
	Started time.Time `json:"started,omitzero"`
	// TTL is after how long without a new record the worker counts as gone, in
	// milliseconds.
	TTL int64 `json:"ttl_ms"`
	// Draining says that the worker is about to end: it works on what it still has, and
	// takes nothing more.
	Draining bool `json:"draining,omitempty"`
	// Left says that the worker has ended and handed everything over.
	Left bool `json:"left,omitempty"`
	// Shards that the worker holds, and those that are its share and that it could
	// not get yet. Both ascend.
	Shards []int `json:"shards,omitempty"`
	Wants  []int `json:"wants,omitempty"`
	// Working counts the channels that it works on, those that wait included.
	Working int `json:"working"`
	// Waits are the channels that do not move at this worker, the most urgent first;
	// More counts those that found no room.
	Waits []Wait `json:"waits,omitempty"`
	More  int    `json:"more,omitempty"`
}

// A Wait is a channel, or some of its partitions, that does not move at a worker.
type Wait struct {
	Channel string `json:"channel"`
	// Partitions that it is about; none: all that the worker has.
	Partitions []int     `json:"partitions,omitempty"`
	Code       why.Code  `json:"code"`
	Message    string    `json:"message"`
	Since      time.Time `json:"since,omitzero"`
	Next       time.Time `json:"next,omitzero"`
	// Failing is there if nobody gets through to the target.
	Failing *why.Failing `json:"failing,omitempty"`
	// Stalled says that the worker has updates in hand there and has settled
	// nothing for as long as it was told to bear that.
	Stalled bool `json:"stalled,omitempty"`
}

// Reason returns the wait as a reason, told by a worker.
func (w *Wait) Reason(worker string) why.Reason {
	return why.Reason{Code: w.Code, Message: w.Message, Worker: worker, Since: w.Since, Next: w.Next, Failing: w.Failing}
}

// Concerns reports whether the wait is about a partition of a channel.
func (w *Wait) Concerns(channel string, partition int) bool {
	return w.Channel == channel && (len(w.Partitions) == 0 || slices.Contains(w.Partitions, partition))
}

// Encode returns the stored form, of MaxBytes at most: waits that find no room are
// counted in More. It sorts and shortens the waits of r.
func (r *Record) Encode() ([]byte, error) {
	r.Format = wire.Format
	slices.SortStableFunc(r.Waits, func(a, b Wait) int { return why.Compare(a.Code, b.Code) })
	all := r.Waits
	r.Waits = nil
	empty, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode the record of worker %s: %w", r.Worker, err)
	}
	room := MaxBytes - len(empty) - len(`,"waits":[],"more":1000000`)
	for i := range all {
		w := all[i]
		w.Message = Shorten(w.Message)
		data, err := json.Marshal(w)
		if err != nil {
			return nil, fmt.Errorf("encode the record of worker %s: %w", r.Worker, err)
		}
		if room -= len(data) + 1; room < 0 {
			break
		}
		r.Waits = append(r.Waits, w)
	}
	r.More = len(all) - len(r.Waits)
	return json.Marshal(r)
}

// Shorten cuts a message to what a record holds of it.
func Shorten(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	end := maxMessage - len("…")
	for end > 0 && !utf8.RuneStart(message[end]) {
		end--
	}
	return message[:end] + "…"
}

// Decode reads the stored form. It fails with ErrRecord.
func Decode(data []byte) (Record, error) {
	var r Record
	if len(data) > MaxBytes {
		return r, fmt.Errorf("%w: it has more than %d bytes", ErrRecord, MaxBytes)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if err := wire.CheckFormat(r.Format); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	for _, shards := range [][]int{r.Shards, r.Wants} {
		if len(shards) > Shards {
			return Record{}, fmt.Errorf("%w: it names %d shards", ErrRecord, len(shards))
		}
		for _, s := range shards {
			if s < 0 || s >= Shards {
				return Record{}, fmt.Errorf("%w: there is no shard %d", ErrRecord, s)
			}
		}
	}
	if max(len(r.Worker), len(r.Host), len(r.Version)) > maxName {
		return Record{}, fmt.Errorf("%w: a name has more than %d bytes", ErrRecord, maxName)
	}
	if r.Worker == "" || r.TTL <= 0 || r.TTL > int64(time.Hour/time.Millisecond) || r.More < 0 || r.Working < 0 {
		return Record{}, fmt.Errorf("%w: a number or the name is missing or out of range", ErrRecord)
	}
	return r, nil
}

// Alive reports whether a record that the broker stored at a time counts as a sign
// of life: less than one TTL before the newest record of the bucket. Both times are
// the broker's, so every reader comes to the same answer, and what a crashed
// broker brings back is not alive. Nor is a record from the future: the broker's clock
// was set back.
func Alive(stored, newest time.Time, ttl time.Duration) bool { return newest.Sub(stored).Abs() < ttl }

// Shards is how many there are, however many channels and workers.
const Shards = 64

// Shard returns the shard that a partition of a channel belongs to. The partitions
// of one channel lie on shards of their own.
func Shard(channel string, partition int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(channel)) // a hash never fails to write
	return int((uint64(h.Sum32()) + uint64(partition)) % Shards)
}

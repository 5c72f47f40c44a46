package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// An Incarnation is a number of the installation. It changes when the broker's
// files were restored: what was known of sequences before is void then. Its upper
// half is a time in seconds, so that a later one is greater; its lower half is
// random, so that no earlier state of the installation has had it. Zero is none.
// As text it has 16 hexadecimal digits.
type Incarnation uint64

// AppendText appends the text form to out.
func (i Incarnation) AppendText(out []byte) ([]byte, error) {
	return fmt.Appendf(out, "%016x", uint64(i)), nil
}

// MarshalText returns the text form.
func (i Incarnation) MarshalText() ([]byte, error) { return i.AppendText(nil) }

// String returns the text form.
func (i Incarnation) String() string { return fmt.Sprintf("%016x", uint64(i)) }

// UnmarshalText reads the text form, and nothing else.
func (i *Incarnation) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil || Incarnation(n).String() != string(text) {
		return fmt.Errorf("%w: incarnation %.80q does not have 16 hexadecimal digits", events.ErrName, string(text))
	}
	*i = Incarnation(n)
	return nil
}

// Next returns an incarnation that nobody has had, and that is greater.
func (i Incarnation) Next(now time.Time) Incarnation {
	seconds := max(uint64(now.Unix()), uint64(i>>32)+1) //nolint:gosec // a time after 1970
	return Incarnation(seconds<<32 | uint64(rand.Uint32()))
}

// Began returns when the incarnation was made, to the second.
func (i Incarnation) Began() time.Time { return time.Unix(int64(i>>32), 0) } //nolint:gosec // 32 bits

// A LogPosition is a place in the outcome log. A broker that was restored gives
// sequences again, for other records: they are compared within an incarnation only,
// and all of a later one are behind all of an earlier one.
type LogPosition struct {
	Incarnation Incarnation `json:"incarnation"`
	Seq         uint64      `json:"seq"`
}

// Before reports whether p is before q.
func (p LogPosition) Before(q LogPosition) bool {
	return p.Incarnation < q.Incarnation || p.Incarnation == q.Incarnation && p.Seq < q.Seq
}

// incarnationKey is the key of the record in the installation's bucket.
const incarnationKey = "incarnation"

// incarnationRecord is the stored form.
type incarnationRecord struct {
	Format      int         `json:"f"`
	Incarnation Incarnation `json:"incarnation"`
	Since       time.Time   `json:"since"`
}

// ReadIncarnation reads the installation's incarnation from the broker. It returns
// ErrNotProvisioned where there is none.
func ReadIncarnation(ctx context.Context, js jetstream.JetStream, names events.Names) (Incarnation, error) {
	i, _, err := readIncarnation(ctx, js, names)
	return i, err
}

func readIncarnation(ctx context.Context, js jetstream.JetStream, names events.Names) (Incarnation, uint64, error) {
	bucket := InstallationBucket(names)
	msg, err := ReadFromLeader(ctx, js, KVStream(bucket), MessageQuery{LastOn: KVSubject(bucket, incarnationKey)})
	if errors.Is(err, events.ErrUnknownChannel) || errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, 0, fmt.Errorf("%w: bucket %s has no incarnation; apply a channel first", events.ErrNotProvisioned, bucket)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read the incarnation: %w", MarkUnavailable(err))
	}
	var r incarnationRecord
	if err := json.Unmarshal(msg.Data, &r); err != nil {
		return 0, 0, fmt.Errorf("incarnation: %w", err)
	}
	if err := CheckFormat(r.Format); err != nil {
		return 0, 0, fmt.Errorf("incarnation: %w", err)
	}
	return r.Incarnation, msg.Sequence, nil
}

// CheckIncarnation returns ErrIncarnation if the installation has surely another
// incarnation than want, and nil if it has that one or cannot be asked.
func CheckIncarnation(ctx context.Context, js jetstream.JetStream, names events.Names, want Incarnation) error {
	have, err := ReadIncarnation(ctx, js, names)
	switch {
	case errors.Is(err, events.ErrNotProvisioned), err == nil && have != want:
		return IncarnationChanged(names, want, have)
	default: // who does not answer has not changed
		return nil
	}
}

// IncarnationChanged tells why an installation is another one; now is 0 if its number is gone.
func IncarnationChanged(names events.Names, was, now Incarnation) error {
	if now == 0 {
		return fmt.Errorf("%w: bucket %s is gone; 'extsync doctor --fix' makes it again, then start this process again", events.ErrIncarnation, InstallationBucket(names))
	}
	return fmt.Errorf("%w: the broker's files were restored, or 'extsync recover' was run, since (incarnation %s, now %s)", events.ErrIncarnation, was, now)
}

// EnsureIncarnation gives a new installation its first incarnation. One that has
// one keeps it. It is part of provisioning.
func EnsureIncarnation(ctx context.Context, js jetstream.JetStream, names events.Names) error {
	_, _, err := readIncarnation(ctx, js, names)
	if !errors.Is(err, events.ErrNotProvisioned) {
		return err
	}
	_, err = writeIncarnation(ctx, js, names, 0, 0)
	if IsWrongSequence(err) { // somebody else was faster
		return nil
	}
	return err
}

// RenewIncarnation gives the installation a new incarnation and returns both. From
// then on what workers and publishers know of sequences is void, and so are all
// floors: every process that has started before stops.
func RenewIncarnation(ctx context.Context, js jetstream.JetStream, names events.Names) (before, after Incarnation, err error) {
	before, revision, err := readIncarnation(ctx, js, names)
	if err != nil {
		return 0, 0, err
	}
	after, err = writeIncarnation(ctx, js, names, before, revision)
	if IsWrongSequence(err) {
		return 0, 0, fmt.Errorf("%w: somebody else has just made a new incarnation", events.ErrBusy)
	}
	return before, after, err
}

func writeIncarnation(ctx context.Context, js jetstream.JetStream, names events.Names, before Incarnation, revision uint64) (Incarnation, error) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	r := incarnationRecord{Format: Format, Incarnation: before.Next(now), Since: now}
	data, err := json.Marshal(r)
	if err != nil {
		return 0, err
	}
	ctx, cancel := WithDefaultTimeout(ctx)
	defer cancel()
	_, err = js.Publish(ctx, KVSubject(InstallationBucket(names), incarnationKey), data, jetstream.WithExpectLastSequencePerSubject(revision))
	if err != nil {
		return 0, fmt.Errorf("write the incarnation: %w", err)
	}
	return r.Incarnation, nil
}

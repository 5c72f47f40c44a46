package channels

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hms-utl/extsync/internal/contents"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// ControlReadBack asks the owner of a partition to read a key at the target.
const ControlReadBack = "read_back"

// ErrReadBack says that the owner did not read a key at the target.
var ErrReadBack = errors.New("the target was not read")

// ReadBack is what the target holds of a key, beside what the channel would send now.
type ReadBack struct {
	Worker string       `json:"worker"`
	Wanted *Wanted      `json:"wanted,omitempty" doc:"The newest version; none: the channel keeps none"`
	Target ReadBackHeld `json:"target"`
	At     time.Time    `json:"at"`
	contents.Diff
	// Readable: the target was read. WhyNot says why not, or why the contents were not.
	Readable bool   `json:"readable"`
	Compared bool   `json:"compared" doc:"Contents were read, too, and not versions alone"`
	WhyNot   string `json:"why_not,omitempty" doc:"Why the target, or its contents, were not read"`
	// Decision is send, remove, filtered, failed, or none where there is no update.
	Decision string `json:"decision" enum:"send,remove,filtered,failed,none" doc:"What the channel would do with the newest version now"`
	Error    string `json:"error,omitempty" doc:"Why it could not be sent as it is"`
}

// Wanted is the version that a key is to have at the target.
type Wanted struct {
	Version   versioning.Version `json:"version"`
	Digest    versioning.Digest  `json:"digest,omitzero"`
	Op        events.Op          `json:"op"`
	Published time.Time          `json:"published,omitzero"`
}

// ReadBackHeld is what the target says of a key.
type ReadBackHeld struct {
	Found   bool               `json:"found" doc:"It holds something of the key; it may have no version"`
	Version versioning.Version `json:"version,omitzero"`
	Digest  versioning.Digest  `json:"digest,omitzero"`
	Op      events.Op          `json:"op,omitempty"`
}

// ReadBack asks the owner of a key's partition what the target holds of the key. Nothing is
// written. The errors: ErrNotFound, ErrDeleted, ErrNoOwner, ErrReadBack, or that of the
// request.
func (r *Registry) ReadBack(ctx context.Context, channel, key string) (ReadBack, error) {
	enc, err := events.EncodeKey(key)
	if err != nil {
		return ReadBack{}, err
	}
	reply, err := r.ask(ctx, channel, enc, ControlRequest{Op: ControlReadBack, Key: key}, ErrReadBack, "key")
	if err != nil {
		return ReadBack{}, err
	}
	if reply.ReadBack == nil {
		return ReadBack{}, fmt.Errorf("%w: its worker does not know how", ErrReadBack)
	}
	return *reply.ReadBack, nil
}

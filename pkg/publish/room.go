package publish

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// fullAt is how full a latest channel may be before new keys are refused, in
	// hundredths. In a cluster a full stream refuses even the replacement of a
	// version by a newer one, so existing keys need the rest to converge.
	fullAt = 80
	// roomAge is for how long a look at a channel's room is good.
	roomAge = time.Second
)

// A room is what a look at a route's stream said: how many bytes of new keys
// this publisher may still add before it looks again.
type room struct {
	mu   sync.Mutex // one look at a time
	at   time.Time
	left int64
	full error // there is none
	// used is what the stream held at the last look, onTheWay what it did not have yet of
	// what this publisher was allowed to add, as far as others have added nothing, and added
	// what that was since.
	used, onTheWay, added int64
}

// storedOverhead is what a stream counts for a message beside its subject, headers and
// payload, in bytes: 34 by fileStoreMsgSize of nats-server 2.15, about 10 of the transformed
// subject, and 40 of the header with the expected sequence.
const storedOverhead = 84

// checkRoom refuses an update of a key that the route's stream does not hold yet when that is
// nearly full.
func (p *Publisher) checkRoom(ctx context.Context, o *wire.Outgoing) error {
	route := o.Route
	v, _ := p.rooms.LoadOrStore(route, &room{})
	r := v.(*room) //nolint:forcetypeassert // only rooms are stored
	r.mu.Lock()
	defer r.mu.Unlock()
	need := int64(o.Size + len(o.Msg.Subject) + storedOverhead)
	if time.Since(r.at) >= roomAge || r.full == nil && r.left < need {
		if err := p.lookForRoom(ctx, route, r); err != nil {
			return err
		}
	}
	if r.full != nil {
		return r.full
	}
	if !o.Charged { // else it is tried again
		o.Charged = true
		r.left -= need
		r.added += need
	}
	return nil
}

// lookForRoom asks the broker how full the route's stream is.
func (p *Publisher) lookForRoom(ctx context.Context, route events.Route, r *room) error {
	s, err := p.stream(ctx, route)
	if err != nil {
		return err
	}
	info, err := s.Info(ctx)
	if err != nil {
		return err
	}
	used, most := int64(info.State.Bytes), info.Config.MaxBytes //nolint:gosec // a stream's size fits
	onTheWay := max(0, r.onTheWay+r.added-max(0, used-r.used))
	if time.Since(r.at) >= roomAge { // what was on its way then is stored or given up
		onTheWay = min(onTheWay, r.added)
	}
	if time.Since(r.at) >= 2*roomAge {
		onTheWay = 0
	}
	r.at, r.used, r.onTheWay, r.added, r.full, r.left = time.Now(), used, onTheWay, 0, nil, math.MaxInt64
	if info.Config.Retention == jetstream.LimitsPolicy && most > 0 {
		if r.left = most/100*fullAt - used - onTheWay; r.left <= 0 {
			r.full = fmt.Errorf("%w: %s holds %d of %d bytes; new keys are refused at %d %%: raise max_bytes, or see why old keys are kept",
				events.ErrFull, route, used, most, fullAt)
		}
	}
	return nil
}

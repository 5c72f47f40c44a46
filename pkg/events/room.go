package events

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// fullAt is how full a latest channel may be before new keys are refused, in
	// hundredths. In a cluster a full stream refuses even the replacement of a
	// version by a newer one, so existing keys need the rest to converge.
	fullAt = 80
	// roomAge is for how long a look at a channel's room is good.
	roomAge = time.Second
)

// A room is what a look at a channel's stream said: how many bytes of new keys
// this publisher may still add before it looks again.
type room struct {
	at   time.Time
	left atomic.Int64
	full error // there is none
}

// checkRoom refuses a key that the channel does not hold yet when the channel is
// nearly full. size is that of the message.
func (p *Publisher) checkRoom(ctx context.Context, channel string, size int) error {
	if v, ok := p.rooms.Load(channel); ok {
		r := v.(*room) //nolint:forcetypeassert // only rooms are stored
		if time.Since(r.at) < roomAge && (r.full != nil || r.left.Add(-int64(size)) > 0) {
			return r.full
		}
	}
	s, err := p.stream(ctx, channel)
	if err != nil {
		return err
	}
	info, err := s.Info(ctx)
	if err != nil {
		return err
	}
	r := &room{at: time.Now()}
	used, most := int64(info.State.Bytes), info.Config.MaxBytes //nolint:gosec // a stream's size fits
	r.left.Store(math.MaxInt64)
	if info.Config.Retention == jetstream.LimitsPolicy && most > 0 {
		r.left.Store(most/100*fullAt - used - int64(size))
		if r.left.Load() < 0 {
			r.full = fmt.Errorf("%w: %s holds %d of %d bytes; new keys are refused at %d %%: raise max_bytes, or see why old keys are kept",
				ErrFull, channel, used, most, fullAt)
		}
	}
	p.rooms.Store(channel, r)
	return r.full
}
